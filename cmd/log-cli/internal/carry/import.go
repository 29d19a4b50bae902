package carry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/exportfile"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/place"
)

// importFlags are the flags of import.
type importFlags struct {
	topic   string // "" is the file's
	files   []string
	check   bool
	verbose bool
	retry   cli.Retry
	search  cli.Size
}

// defaultSearch is how much of a topic is looked through for what it has of a copy.
const defaultSearch = 1 << 30

func importCommand(a *cli.App) *cobra.Command {
	f := importFlags{search: defaultSearch}
	cmd := &cobra.Command{
		Use:        "import FILE... [TOPIC] [flags]",
		SuggestFor: []string{"restore", "load"},
		Short:      "Store the messages of files that export has written.",
		Long: `Checks every byte of all FILEs first. If one is torn or was changed the exit
code is 4, and nothing is sent. Then the batches are stored in TOPIC, or in the
topic that the file names, in the file's order. Offsets and times are new ones;
--verbose prints a line with the old and the new place of each batch.

A partition file of a work directory, named <base offset>.log, is a FILE, too.

Batches are numbered. So a second run, of an import that was interrupted, say,
stores only what is not there yet. If the topic has so many newer batches that
it has forgotten the numbers, it is looked through, as much as --search allows,
for the last batch of the file. If it is not found, the exit code is 1 and
nothing is sent; --search 0 says that there was no earlier run.`,
		Example: `  log-cli import greetings.logd
  log-cli import greetings.logd welcome --verbose
  log-cli import --check greetings.logd`,
		Args: func(_ *cobra.Command, args []string) error { return f.words(args) },
		RunE: a.Do(func(ctx context.Context, _ []string) error {
			all, err := checkFiles(ctx, a, f.files)
			if err != nil || f.check {
				return err
			}
			return a.WithClient(ctx, func(client *logd.Client) error {
				return importAll(ctx, a, client, &f, all)
			})
		}),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.topic, "topic", "t", "", "store in this `TOPIC`, if it is not the last word")
	flags.BoolVar(&f.check, "check", false, "only check the files; no server is asked")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print the old and the new place of each batch")
	flags.Var(&f.retry, "retry", "wait so long, as 30s, or forever, for a server that goes away (default 1m)")
	flags.Var(&f.search, "search", "look through so much of the topic for what an earlier run has stored, if that is in doubt;\n0: there was none")
	a.FormatFlag(cmd)
	return cmd
}

// words takes the files, and the topic if the last word is no file but may be one.
func (f *importFlags) words(args []string) error {
	if len(args) == 0 {
		return errors.New("want the FILE that export has written")
	}
	last := args[len(args)-1]
	if _, err := os.Stat(last); len(args) > 1 && f.topic == "" && errors.Is(err, fs.ErrNotExist) && !strings.ContainsRune(last, filepath.Separator) {
		f.topic, args = last, args[:len(args)-1]
	}
	f.files = args
	return nil
}

// file is a file that was checked.
type file struct {
	path   string
	header exportfile.Header
	sum    exportfile.Summary
	pid    string
}

// open opens the file again.
func (f *file) open() (*os.File, *exportfile.Reader, error) {
	in, err := os.Open(f.path)
	if err != nil {
		return nil, nil, err
	}
	r, err := reader(in, f.header.ID)
	if err != nil {
		in.Close()
	}
	return in, r, err
}

// reader returns the reader of an export, or of a partition file, which has its id from
// the caller.
func reader(in *os.File, id string) (*exportfile.Reader, error) {
	if base, is := partitionBase(in.Name()); is {
		begins := make([]byte, 6)
		n, _ := in.ReadAt(begins, 0)
		if string(begins[:n]) != "logd-e" {
			st, err := in.Stat()
			if err != nil {
				return nil, err
			}
			return exportfile.NewPartitionReader(in, base, st.Size(), id)
		}
	}
	return exportfile.NewReader(in)
}

// partitionBase returns the base offset that the name of a partition file has.
func partitionBase(path string) (base int64, is bool) {
	digits, ok := strings.CutSuffix(filepath.Base(path), ".log")
	base, isNumber := place.Digits(digits)
	return base, ok && isNumber && strconv.FormatInt(base, 10) == digits
}

// checkFiles reads the files to their ends.
func checkFiles(ctx context.Context, a *cli.App, paths []string) (all []file, err error) {
	total := int64(0)
	for _, path := range paths {
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, exit.With(exit.NotFound, fmt.Errorf("there is no file %s", path))
		case err != nil:
			return nil, err
		case !st.Mode().IsRegular():
			return nil, exit.With(exit.Usage, fmt.Errorf("%s is no regular file: it is read twice, checked first", path))
		}
		total += st.Size()
	}
	bar := a.Progress(total, "checking", nil)
	defer bar.Finish()
	for _, path := range paths {
		f, err := checkFile(ctx, path, bar)
		if damage, ok := errors.AsType[*exportfile.DamageError](err); ok {
			err = exit.With(exit.Damage, fmt.Errorf("%s: %w", path, damage))
		}
		if err != nil {
			return nil, err
		}
		all = append(all, f)
		bar.Finish()
		if err := f.print(a, "file"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func checkFile(ctx context.Context, path string, bar *cli.Bar) (file, error) {
	f := file{path: path}
	in, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer in.Close()
	r, err := reader(in, "")
	if err != nil {
		return f, err
	}
	seen := int64(0)
	for {
		_, err := r.Next()
		bar.Add(int(r.Position() - seen))
		seen = r.Position()
		if err == io.EOF {
			break
		} else if err != nil {
			return f, err
		}
		if ctx.Err() != nil {
			return f, errInterrupted
		}
	}
	f.header, f.sum = r.Header(), r.Summary()
	if f.header.ID == "" {
		// Nothing else tells partition files of the same name and size apart.
		sum := sha256.New()
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return f, err
		}
		if _, err := io.Copy(sum, in); err != nil {
			return f, err
		}
		f.header.ID = fmt.Sprintf("%x", sum.Sum(nil))
	}
	f.pid = producer(f.header.ID, strconv.FormatInt(f.header.From, 10), strconv.FormatInt(f.header.To, 10))
	return f, nil
}

// jsonImported is a file, or what was stored of it, as a line of JSON.
type jsonImported struct {
	Type     string `json:"type"`
	File     string `json:"file"`
	Topic    string `json:"topic"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	Batches  int64  `json:"batches"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
	Before   *int64 `json:"stored_before,omitempty"`
}

// print prints that the file is whole.
func (f *file) print(a *cli.App, kind string) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, jsonImported{kind, f.path, f.header.Topic, f.header.From, f.header.To, f.sum.Batches, f.sum.Messages, f.sum.Bytes, nil})
	}
	return cli.Printf(a.Stdout, "%s: topic %s, %s, %s, %d bytes, from %d to %d: no damage\n", f.path, f.header.Topic,
		cli.Plural(f.sum.Batches, "batch", "batches"), cli.Count(f.sum.Messages, "message"), f.sum.Bytes, f.header.From, f.header.To)
}

// importAll stores the files.
func importAll(ctx context.Context, a *cli.App, client *logd.Client, flags *importFlags, all []file) error {
	for i := range all {
		err := errForgotten
		// A topic that forgets while a file is imported is rare: see oneCopy.
		for again := 0; again < 3 && errors.Is(err, errForgotten); again++ {
			m := &importer{app: a, flags: flags, file: &all[i]}
			err = m.run(ctx, client)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", all[i].path, err)
		}
	}
	return nil
}

// importer stores a file.
type importer struct {
	app   *cli.App
	flags *importFlags
	*file
	sender *sender
	before int64  // batches that an earlier run has stored
	base   int64  // those of them that were stored before the present generation
	last   []byte // the newest of them as it is stored, unpacked; nil if that is not known
	split  bool   // what becomes a batch depends on the server's settings
	bar    *cli.Bar
}

func (m *importer) run(ctx context.Context, client *logd.Client) error {
	topic := m.flags.topic
	if topic == "" {
		topic = m.header.Topic
	}
	away := outage{app: m.app, retry: m.flags.retry.OrTime(defaultRetry)}
	var t *target
	err := away.do(ctx, func() (err error) {
		if t, err = newTarget(ctx, client, topic); err == nil {
			err = m.askBefore(ctx, t)
		}
		return err
	})
	if err != nil {
		return err
	}
	m.sender = &sender{target: t, outage: away, pid: m.producer(m.base), base: m.base, seq: 1, done: m.before + 1, onStored: m.stored}
	var out io.Writer
	if m.flags.verbose {
		out = m.app.Stdout
	}
	m.bar = m.app.Progress(m.sum.Bytes, "importing", out)
	defer m.bar.Finish()
	in, r, err := m.open()
	if err != nil {
		return err
	}
	defer in.Close()
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = m.batch(ctx, b)
			m.bar.Add(len(b.Raw))
		}
		if err != nil {
			return err
		}
	}
	if err := m.sender.flush(ctx); err != nil {
		return err
	}
	m.bar.Finish()
	switch {
	case r.Header() != m.header || r.Summary() != m.sum:
		return exit.With(exit.Damage, errors.New("the file has changed since it was checked"))
	case m.before >= m.sender.seq:
		return m.errOther()
	}
	if m.app.JSON() {
		return cli.PrintJSON(m.app.Stdout, jsonImported{"stored", m.path, topic, m.header.From, m.header.To, m.sender.seq - 1, m.sum.Messages, m.sum.Bytes, &m.before})
	}
	before := ""
	if m.before > 0 {
		before = fmt.Sprintf(", of which it had %d before", m.before)
	}
	return cli.Printf(m.app.Stdout, "%s: stored in topic %s: %s, %s%s\n", m.path, topic,
		cli.Plural(m.sender.seq-1, "batch", "batches"), cli.Count(m.sum.Messages, "message"), before)
}

// producer returns the id of the producer that goes on behind so many batches of the file.
// The first generation begins at none; a further one is begun where the topic has forgotten
// the last, and says where, so that it is known without a state.
func (m *importer) producer(base int64) string {
	if base == 0 {
		return m.pid
	}
	return m.family() + strconv.FormatInt(base, 16)
}

// family is what the ids of further generations begin with.
func (m *importer) family() string { return m.pid[:len("copy-")+16] + "-" }

// baseOf returns the number of batches behind which a producer of the file goes on.
func (m *importer) baseOf(pid string) (base int64, is bool) {
	if pid == m.pid {
		return 0, true
	}
	digits, is := strings.CutPrefix(pid, m.family())
	if !is {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 16, 64)
	return base, err == nil && base > 0 && m.producer(base) == pid
}

// askBefore finds out how many batches of the file the topic has, and which generation goes
// on.
func (m *importer) askBefore(ctx context.Context, t *target) error {
	m.base, m.before, m.last = 0, 0, nil
	for { // each generation that the topic knows of goes on behind the one before
		next, err := t.expects(ctx, m.producer(m.before))
		if err != nil {
			return err
		}
		if next == 1 {
			break
		}
		m.base = m.before
		m.before += next - 1
	}
	if m.before == 0 {
		return m.search(ctx, t)
	}
	found, err := t.lookBack(ctx, m.producer(m.base), m.before-m.base, int64(m.flags.search))
	if err == nil && found.last == m.before-m.base && len(found.data) == 1 {
		m.last = found.data[0]
	}
	return err
}

// search looks for what an earlier run may have stored that the topic has forgotten: as a
// copy does, whose place is not known. A topic that is shorter than its memory has forgotten
// nothing.
func (m *importer) search(ctx context.Context, t *target) error {
	info, err := t.client.Info(ctx, t.topic)
	if err != nil || info.Batches < t.producers || m.flags.search == 0 {
		return err
	}
	found, err := t.lookForNewest(ctx, func(pid string) bool { _, is := m.baseOf(pid); return is }, int64(m.flags.search))
	switch {
	case err != nil:
		return err
	case found.pid != "":
		m.base, _ = m.baseOf(found.pid)
		m.before, m.last = m.base+found.seq, found.data
		if next, err := t.expects(ctx, found.pid); err != nil || next == found.seq+1 {
			return err
		}
		m.base = m.before
		m.app.Note("topic %q does not know an earlier import of %s any more; its last batch is found, and the import goes on behind it", t.topic, m.path)
	case !found.whole:
		return fmt.Errorf("topic %q does not know any more what it has of an earlier import, if there was one, and no batch of it is among its newest %s bytes: look through more with --search, or say with --search 0 that there was none. Nothing was sent",
			t.topic, &m.flags.search)
	}
	return nil
}

// batch sends a batch of the file.
func (m *importer) batch(ctx context.Context, b *exportfile.Batch) error {
	s := &stored{offset: b.Offset, raw: b.Raw, data: b.Data, codec: b.Header.Codec}
	return m.sender.sendStored(ctx, s, 0, wholly, func(p *piece, made bool) error {
		m.split = m.split || made
		return m.compare(p, s.data[p.from.delta:])
	})
}

// compare looks whether the newest batch that the topic has of the file is the one of
// that number.
func (m *importer) compare(p *piece, data []byte) error {
	if p.seq != m.before {
		return nil
	}
	if p.after.delta > 0 {
		data = data[:p.after.delta-p.from.delta]
	}
	if m.last != nil && !bytes.Equal(m.last, data) || m.last == nil && m.split {
		return m.errOther()
	}
	return nil
}

// errOther is the error if the topic has what this run would not send.
func (m *importer) errOther() error {
	return fmt.Errorf("the topic has %s of an earlier import of this file, and they are not those that would be sent now: the batch-size or the codecs of its server were changed. Nothing was sent",
		cli.Plural(m.before, "batch", "batches"))
}

// jsonMapped is where a batch was, and where it is, as a line of JSON.
type jsonMapped struct {
	Type string `json:"type"`
	From string `json:"from"`
	To   string `json:"to"`
}

// stored prints where a batch has come to.
func (m *importer) stored(p *piece) error {
	if !m.flags.verbose || p.offset < 0 {
		return nil
	}
	if m.app.JSON() {
		return cli.PrintJSON(m.app.Stdout, jsonMapped{"batch", p.from.String(), mark{p.offset, 0}.String()})
	}
	return cli.Printf(m.app.Stdout, "%v %v\n", p.from, mark{p.offset, 0})
}
