package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
)

// explainFor prints the smallest grant for the place that --for names. It asks
// the system for nothing but who started caplaunch.
func (a *app) explainFor(l *line, report *reporter) error {
	if err := a.notBorrowed(); err != nil {
		return err
	}
	f := &l.Explain.launchFlags
	known := ambient.NamedCaps
	const someone = "65532:65532"
	nobody := f.User == nil
	if nobody {
		user := someone
		f.User = &user
	}
	asked, err := f.ask(l.sources)
	if err != nil {
		return err
	}
	r := &asked.req
	if unnamed := (r.Required.Set | r.Optional.Set) &^ known; unnamed != 0 {
		return usagef("leave "+unnamed.String()+" out of the list here; run takes it", "%v has no name in this caplaunch, and no runtime takes a number", unnamed)
	}
	isRoot := func(n identity.Name) bool { return n.Numeric && n.ID == 0 || n.Text == "root" }
	root := isRoot(asked.user.User)
	r.User = &ambient.User{UID: 1} // only whether it is root counts: a name is taken for somebody else
	if root {
		r.User.UID = 0
	}
	g := grant.For(*r, known)
	if root && r.KeepGroups && asked.groups == nil && (asked.user.Group == nil || isRoot(*asked.user.Group)) {
		g.Caps &^= ambient.SetOf(ambient.CapSetGID) &^ (r.Required.Set | r.Optional.Set) // root stays as it is
	}
	// What the launch would refuse with this grant is refused here too.
	start := ambient.State{Permitted: g.Caps, Effective: g.Caps, Bounding: g.Caps}
	if _, err := ambient.NewPlan(*r, start, ambient.Host{Known: known, Ambient: true, SetGroups: true}); err != nil {
		f := &failure{err: err, msg: err.Error(), hint: l.sources.inHint("caplaunch --bounding=drop, or without --allow-new-privs"), code: exitFailure}
		if stray := (*ambient.UnexpectedCapabilityError)(nil); errors.As(err, &stray) {
			f.hint, f.code = l.sources.of("allow")+"="+(stray.Allow|g.Caps).String(), exitUnexpected
		}
		return f
	}
	if nobody {
		report.infof("no --user: this grant is for caplaunch --user=%s, or any other that is not root", someone)
	}
	place := grant.ParsePlace(l.Explain.For)
	if l.Explain.JSON {
		return json.NewEncoder(a.stdout).Encode(struct {
			Place string `json:"place"`
			Grant string `json:"grant"`
		}{place.String(), g.Text(place)})
	}
	_, err = io.WriteString(a.stdout, g.Text(place))
	return err
}
