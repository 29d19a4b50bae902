package api

import "github.com/logd-dev/logd/internal/web/problem"

func (rd *reading) follow() error {
	return problem.New(problem.InvalidRequest, "not yet")
}
