package setting

// Change says when a change of a setting takes effect.
type Change uint8

const (
	// AtStart: when the program is started the next time.
	AtStart Change = iota
	// AtReload: by a reload.
	AtReload
	// AtReloadIfSet: by a reload, but what turns it on or off takes a start: a change
	// from no value, or to none.
	AtReloadIfSet
)

// Reload returns the settings that are in force when a program with the settings old
// is told the settings new while it runs: of these the ones that take effect, and of
// old the rest. changed are the settings that differ from old then, held back those
// that differ from new. keep, if it is not nil, reports settings that stay as they are
// whatever they say of themselves.
func (t *Table[C]) Reload(old, new *C, keep func(Setting[C]) bool) (merged C, changed, heldBack []Setting[C]) {
	merged = *old
	for _, s := range t.settings {
		is, will := s.Value(old), s.Value(new)
		switch {
		case is == will:
		case s.Change == AtStart, s.Change == AtReloadIfSet && (is == "" || will == ""), keep != nil && keep(s):
			heldBack = append(heldBack, s)
		default:
			// What it can't fail at: the text is of a value that is in its range.
			if err := s.parse(&merged, s.Texts(new)); err != nil {
				panic(t.program + ": value of " + s.Name + ": " + err.Error())
			}
			changed = append(changed, s)
		}
	}
	return merged, changed, heldBack
}
