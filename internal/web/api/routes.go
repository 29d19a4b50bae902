package api

// routes returns all that there is to ask for.
func (a *API) routes() []route {
	return []route{
		a.route("/topics", method{"GET", []string{"after", "limit", "match"}, listTopics}),
		a.route("/topics/{t}", method{"GET", []string{"fresh"}, showTopic}, method{"PUT", nil, createTopic}, method{"DELETE", []string{"now"}, deleteTopic}),
		a.route("/topics/{t}/messages", method{"GET", readQuery, read}, method{"POST", []string{"ids", "require"}, write}),
		a.route("/topics/{t}/messages/{id}", method{"GET", []string{"fresh"}, one}),
		a.route("/topics/{t}/trim", method{"POST", nil, trim}),
		a.route("/topics/{t}/retention", method{"GET", []string{"partitions", "bytes", "age"}, showRetention}),
		a.route("/topics/{t}/settings", method{"GET", []string{"fresh"}, showSettings}, method{"PATCH", []string{"dry_run"}, changeSettings}),
		a.route("/topics/{t}/place", method{"GET", []string{"at", "fresh"}, showPlace}),
		a.route("/topics/{t}/positions", method{"GET", []string{"after", "limit"}, listPositions}),
		a.route("/topics/{t}/positions/{consumer}", method{"GET", []string{"fresh"}, showPosition},
			method{"PUT", []string{"force"}, setPosition}, method{"DELETE", []string{"force"}, forgetPosition}),
		a.route("/positions", method{"GET", []string{"after", "limit"}, listPositions}),
		a.route("/cluster", method{"GET", nil, showCluster}),
		a.route("/groups", method{"GET", nil, showGroups}),
		a.route("/stats", method{"GET", nil, showStats}),
		a.route("/config", method{"GET", nil, showConfig}),
		a.route("/health", method{"GET", nil, showHealth}),
		a.route("/cluster/transfer", method{"POST", nil, transfer}),
		a.route("/cluster/drain", method{"POST", nil, drain}),
		a.route("/errors", method{"GET", nil, showErrors}),
		a.route("/hooks", method{"GET", nil, showHooks}),
		a.route("/hooks/{t}/{base}", method{"POST", nil, changeHook}),
		a.route("/openapi.json", method{"GET", nil, showOpenAPI}),
	}
}

// Routes returns the paths that there are, behind Prefix, with names in braces, and the
// methods that each has.
func Routes() map[string][]string {
	paths := make(map[string][]string)
	for _, r := range new(API).routes() {
		for _, m := range r.methods {
			paths[r.path] = append(paths[r.path], m.name)
		}
	}
	return paths
}

// QueryKeys returns the keys that the query of a method may have, by the method and its path.
func QueryKeys() map[string][]string {
	keys := make(map[string][]string)
	for _, r := range new(API).routes() {
		for _, m := range r.methods {
			keys[m.name+" "+r.path] = m.query
		}
	}
	return keys
}
