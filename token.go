package logd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// StaticToken returns a function for ClientConfig.Token that always returns the token.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// TokenFile returns a function for ClientConfig.Token that reads the token from a file
// each time, so that a changed one is used by the next connection. White space around
// it is no part of it. No error shows what is in the file.
func TokenFile(path string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		token := strings.TrimSpace(string(data))
		if token == "" {
			return "", fmt.Errorf("%s: %w", path, errNoToken)
		}
		return token, nil
	}
}

var errNoToken = errors.New("there is no token in the file")
