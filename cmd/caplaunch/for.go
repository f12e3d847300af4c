package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
)

// explainFor prints the smallest grant for the place that --for names. It asks
// the system for nothing but who started caplaunch.
func (a *app) explainFor(l *line, report *reporter) error {
	if err := a.notBorrowed(); err != nil {
		return err
	}
	f := &l.Explain.launchFlags
	known := ambient.UpTo(ambient.Cap(ambient.Named() - 1))
	const someone = "65532:65532"
	if f.User == nil {
		user := someone
		f.User = &user
		report.infof("no --user: this grant is for caplaunch --user=%s, or any other that is not root", someone)
	}
	asked, err := f.ask(l.sources)
	if err != nil {
		return err
	}
	r := &asked.req
	for _, list := range []struct {
		flag string
		set  ambient.Set
	}{{"caps", r.Required.Set}, {"optional-caps", r.Optional.Set}} {
		if unnamed := list.set &^ known; unnamed != 0 {
			return usagef("write the grant of "+unnamed.String()+" by hand, in the runtime's own words, or leave it out of "+l.sources.of(list.flag),
				"%s: %v has no name in this caplaunch, and no runtime takes a number", l.sources.of(list.flag), unnamed)
		}
	}
	root := asked.user.User.Numeric && asked.user.User.ID == 0 || asked.user.User.Text == "root"
	r.User = &ambient.User{UID: 1} // only whether it is root counts: a name is taken for somebody else
	if root {
		r.User.UID = 0
	}
	if root && r.AllowNewPrivs && r.Bounding != ambient.CutBounding {
		return &failure{err: &ambient.RefusedError{Why: ambient.RootRegains}, code: exitFailure,
			msg: (&ambient.RefusedError{Why: ambient.RootRegains}).Error(), hint: "caplaunch --bounding=drop, or without --allow-new-privs"}
	}
	g := grant.For(*r, known)
	if root && r.KeepGroups {
		g.Caps &^= ambient.SetOf(ambient.CapSetGID) &^ (r.Required.Set | r.Optional.Set) // root stays as it is
	}
	if err := r.CheckGrant(g.Caps, ambient.Host{Known: known}); err != nil {
		var stray *ambient.UnexpectedCapabilityError
		errors.As(err, &stray)
		caps, _ := stray.Set()
		return &failure{err: err, msg: err.Error(), code: exitUnexpected, hint: l.sources.of("allow") + "=" + (stray.Allow | caps).String()}
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
