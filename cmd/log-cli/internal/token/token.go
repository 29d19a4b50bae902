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
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/durable"
	"github.com/logd-dev/logd/internal/exit"
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
	mode := fs.FileMode(0o600)
	if st, err := os.Stat(file); err == nil {
		mode = st.Mode().Perm()
	}
	return durable.Replace(durable.OS, file, mode, after, true)
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
			if token == "" || len(token) > maxToken || strings.ContainsAny(token, " \t\r\n") {
				return exit.With(exit.Usage, fmt.Errorf("standard input is not one word of 1 to %d bytes", maxToken))
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

// maxToken is the length of the longest token, in bytes.
const maxToken = 512

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
			err := cli.PrintJSON(a.Stdout, struct {
				Name   string   `json:"name"`
				Tokens int      `json:"tokens"`
				Allow  []string `json:"allow"`
			}{id.Name(), p.Tokens(id), id.Rules()})
			if err != nil {
				return exit.OutputError(err)
			}
		}
		return nil
	}
	err = a.PrintTable("NAME\tTOKENS\tALLOW", func(row func(format string, args ...any)) {
		for _, id := range p.Identities() {
			rules := id.Rules()
			row("%s\t%d\t%s", id.Name(), p.Tokens(id), strings.Join(rules, "; "))
		}
	})
	if err == nil && p.Anonymous() != nil {
		a.Note("%s: connections that show nothing may do what the rules of %s allow", file, auth.Anonymous)
	}
	return err
}
