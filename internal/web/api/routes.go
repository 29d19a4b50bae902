package api

// routes returns all that there is to ask for.
func (a *API) routes() []route {
	return []route{
		a.route("/topics", method{"GET", []string{"after", "limit", "match"}, listTopics}),
		a.route("/topics/{t}", method{"GET", []string{"fresh"}, showTopic}),
		a.route("/topics/{t}/messages", method{"GET", readQuery, read}, method{"POST", []string{"ids", "require"}, write}),
		a.route("/topics/{t}/messages/{id}", method{"GET", []string{"fresh"}, one}),
		a.route("/cluster", method{"GET", nil, showCluster}),
		a.route("/groups", method{"GET", nil, showGroups}),
		a.route("/stats", method{"GET", nil, showStats}),
		a.route("/config", method{"GET", nil, showConfig}),
		a.route("/health", method{"GET", nil, showHealth}),
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
