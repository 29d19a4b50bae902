package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/status"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Show where each source of the agent that runs here stands.",
		Example: `  log-forwarder status
  log-forwarder status -o json
  log-forwarder status --http-host 127.0.0.1:1778`,
		Long: `Asks the agent at http-host, and prints a line for each source: how far it is
stored, how much there is, and how long the oldest byte waits. If the agent is
not ready, standard error says why.`,
		Args:        cobra.NoArgs,
		RunE:        a.Do(a.status),
		Annotations: cmdline.TakesSettings,
	}
	a.FormatFlag(cmd)
	return cmd
}

func (a *app) status([]string) error {
	host, err := a.httpHost()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 15 * time.Second}
	if err := a.notReady(client, host); err != nil {
		return err
	}
	resp, err := ask(client, host, "/sources")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if a.JSON() {
		_, err := io.Copy(a.Stdout, resp.Body)
		return exit.OutputError(err)
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INPUT\tSOURCE\tTOPIC\tPOSITION\tSIZE\tLAG\tSECONDS")
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var s status.Source
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return fmt.Errorf("%s/sources: %w", host, err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%.1f\n", s.Input, printable(s.Source), s.Topic, s.Position, s.Size, s.LagBytes, s.LagSeconds)
	}
	return exit.OutputError(w.Flush())
}

// printable returns a name that may be anybody's as one word of one line.
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// httpHost returns where the agent is asked.
func (a *app) httpHost() (string, error) {
	a.sources.NoInputs = true
	c, err := a.load(a.ConfigFile, nil)
	if err != nil {
		return "", err
	}
	if c.HTTPHost == "" {
		return "", exit.With(exit.Config, errors.New("http-host is empty: nobody can ask the agent"))
	}
	return c.HTTPHost, nil
}

// notReady says why the agent is not ready.
func (a *app) notReady(client *http.Client, host string) error {
	resp, err := ask(client, host, "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			fmt.Fprintf(a.Stderr, "%s: not ready: %s\n", program, lines.Text())
		}
	}
	return nil
}

func ask(client *http.Client, host, path string) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: host, Path: path}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("no agent answers at %s: does it run, and is that its http-host?", host)
		}
		return nil, exit.With(exit.Temporary, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", u.String(), resp.Status)
	}
	return resp, nil
}
