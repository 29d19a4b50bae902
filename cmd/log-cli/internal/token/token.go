// Package token has the commands of log-cli that make tokens and look into files of
// identities. They talk to no server.
package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/durable"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/quantity"
)

// Command returns token, with new, hash and check below it.
func Command(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make tokens, and look into the file that says who may do what.",
		Example: `  log-cli token new shipper
  log-cli token check auth.toml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which one: log-cli token new, log-cli token hash or log-cli token check?")
		},
	}
	cmd.AddCommand(newCommand(a), hashCommand(a), checkCommand(a))
	return cmd
}

func newCommand(a *cli.App) *cobra.Command {
	var rules []string
	var file string
	cmd := &cobra.Command{
		Use:   "new NAME [flags]",
		Short: "Make a token and print it.",
		Example: `  log-cli token new shipper --allow 'write,create orders.*'
  log-cli token new shipper --auth-file /etc/logd/auth.toml > shipper.token`,
		Long: `Prints a token that nobody has, and nothing else, to standard output. What the
auth file of the server needs goes to standard error, or with --auth-file into
the file: as a new identity, or as one more token of the one that has the name.
The file never has the token itself: keep what is printed.`,
		Args: cobra.ExactArgs(1),
		RunE: a.Do(func(_ context.Context, args []string) error { return makeToken(a, args[0], rules, file) }),
	}
	cmd.Flags().StringArrayVar(&rules, "allow", nil, "a `RULE` of the new identity: VERB[,VERB…] PATTERN; can be repeated")
	cmd.Flags().StringVar(&file, "auth-file", "", "put it into this `FILE`, which is made if need be")
	a.FormatFlag(cmd)
	return cmd
}

func makeToken(a *cli.App, name string, rules []string, file string) error {
	token := auth.NewToken()
	digest := auth.Sum([]byte(token))
	var before []byte
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		before = data
	}
	after, err := auth.AddToken(file, before, name, digest, rules)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	// The token is shown before the file has it: else it could be lost.
	if a.JSON() {
		err = cli.PrintJSON(a.Stdout, struct {
			Name   string   `json:"name"`
			Token  string   `json:"token"`
			Digest string   `json:"digest"`
			Allow  []string `json:"allow"`
		}{name, token, digest.String(), append([]string{}, rules...)})
	} else {
		_, err = fmt.Fprintln(a.Stdout, token)
	}
	if err != nil {
		return exit.OutputError(err)
	}
	if file == "" {
		if !a.JSON() {
			fmt.Fprint(a.Stderr, auth.Block(name, digest, rules))
		}
		return nil
	}
	return replace(file, after)
}

// replace gives a file other content. Its mode, owner and group stay, so that the server
// can go on reading it, and a symbolic link goes on leading to it.
func replace(file string, content []byte) error {
	path, err := filepath.EvalSymlinks(file)
	if errors.Is(err, fs.ErrNotExist) {
		return durable.Replace(durable.OS, file, 0o600, content, true)
	} else if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return durable.Replace(owned{durable.OS, st}, path, st.Mode().Perm(), content, true)
}

// owned makes files that belong to whom another one does.
type owned struct {
	durable.System
	like fs.FileInfo
}

func (o owned) Create(path string, mode fs.FileMode) (durable.File, error) {
	f, err := o.System.Create(path, mode)
	if err != nil {
		return nil, err
	}
	st, ok := o.like.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid() {
		return f, nil
	}
	if err := os.Chown(f.Name(), int(st.Uid), int(st.Gid)); err != nil {
		f.Close()
		o.System.Remove(f.Name())
		return nil, fmt.Errorf("the file has to stay its owner's: %w", err)
	}
	return f, nil
}

func hashCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "hash [flags]",
		Short:   "Read a token from standard input and print its digest.",
		Example: `  log-cli token hash < shipper.token`,
		Args:    cobra.NoArgs,
		RunE: a.Do(func(context.Context, []string) error {
			data, err := io.ReadAll(io.LimitReader(a.Stdin, 4096))
			if err != nil {
				return err
			}
			token := strings.TrimSpace(string(data))
			if token == "" || len(token) > protocol.MaxToken || strings.ContainsAny(token, " \t\r\n") {
				return exit.With(exit.Usage, fmt.Errorf("standard input is not one word of 1 to %d bytes", protocol.MaxToken))
			}
			digest := auth.Sum([]byte(token)).String()
			if a.JSON() {
				return exit.OutputError(cli.PrintJSON(a.Stdout, struct {
					Digest string `json:"digest"`
				}{digest}))
			}
			_, err = fmt.Fprintln(a.Stdout, digest)
			return exit.OutputError(err)
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}

func checkCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "check FILE [flags]",
		Short:   "Tell whether a server would take an auth file.",
		Example: `  log-cli token check /etc/logd/auth.toml`,
		Args:    cobra.ExactArgs(1),
		RunE:    a.Do(func(_ context.Context, args []string) error { return check(a, args[0]) }),
	}
	a.FormatFlag(cmd)
	return cmd
}

func check(a *cli.App, file string) error {
	p, err := auth.Load(file)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	if a.JSON() {
		for _, id := range p.Identities() {
			writeRate, readRate, connections := id.Quotas()
			err := cli.PrintJSON(a.Stdout, struct {
				Name        string   `json:"name"`
				Tokens      int      `json:"tokens"`
				Allow       []string `json:"allow"`
				WriteRate   int64    `json:"write_rate,omitempty"`
				ReadRate    int64    `json:"read_rate,omitempty"`
				Connections int      `json:"connections,omitempty"`
			}{id.Name(), p.Tokens(id), id.Rules(), writeRate, readRate, connections})
			if err != nil {
				return exit.OutputError(err)
			}
		}
		return nil
	}
	err = a.PrintTable("NAME\tTOKENS\tQUOTAS\tALLOW", func(row func(format string, args ...any)) {
		for _, id := range p.Identities() {
			row("%s\t%d\t%s\t%s", id.Name(), p.Tokens(id), quotas(id), strings.Join(id.Rules(), "; "))
		}
	})
	if err == nil && p.Anonymous() != nil {
		a.Note("%s: connections that show nothing may do what the rules of %s allow", file, auth.Anonymous)
	}
	return err
}

// quotas says what an identity has of quotas, as the file has them.
func quotas(id *auth.Identity) string {
	var list []string
	writeRate, readRate, connections := id.Quotas()
	for _, rate := range []struct {
		key    string
		second int64
	}{{"write-rate", writeRate}, {"read-rate", readRate}} {
		if rate.second > 0 {
			list = append(list, rate.key+"="+quantity.FormatSize(rate.second))
		}
	}
	if connections > 0 {
		list = append(list, "connections="+strconv.Itoa(connections))
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, " ")
}
