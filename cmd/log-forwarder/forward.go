package main

import "errors"

// forward runs the agent until a signal, a failure or the end of what is read ends it.
func (a *app) forward(inputs []string) error {
	if _, err := a.load(a.configFile, inputs); err != nil {
		return err
	}
	return errors.New("this build has no agent yet: config check and config show work")
}
