package main

import (
	goflag "flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

var update = goflag.Bool("update", false, "write what differs")

// failures says what happens when a flag cannot be followed.
var failures = map[string]string{
	"caps":            "One that cannot be given ends with status 77.",
	"optional-caps":   "One that cannot be given is skipped, and a line on standard error says why.",
	"bounding":        "drop without SETPCAP is refused, status 125.",
	"allow-new-privs": "A root user is refused with it, unless --bounding=drop is given.",
	"strip-file-caps": "A PROGRAM that the new user cannot read, or that needs $ORIGIN, is refused, status 125.",
	"user":            "A name that is not in /etc/passwd, or a switch without SETUID or SETGID, is refused, status 125.",
	"groups":          "A name that is not in /etc/group, or a change without SETGID, is refused, status 125.",
	"keep-groups":     "It cannot fail.",
	"non-root":        "refuse ends with status 125.",
	"keep-env":        "It cannot fail.",
	"allow":           "Anything else ends with status 78.",
	"strict":          "Anything else ends with status 78.",
	"sets":            "Without --allow or --strict it is refused, status 125.",
	"ignore-signals":  "KILL and STOP are refused, status 125.",
	"stdio":           "What cannot be handed over is left as it is.",
	"quiet":           "It hides neither error nor hint.",
	"verbose":         "It cannot fail.",
	"log-format":      "Another word is refused, status 125.",
	"for":             "Another word is refused, status 125.",
	"json":            "It cannot fail.",
	"pid":             "A process that is not there ends with status 125.",
}

// A manual is a command with its flags, as the grammar has them.
type manual struct {
	Name, Help string
	Options    []option
}

// An option is a flag, or an argument, with what only a reader asks for.
type option struct {
	Name, Group, Short, Help, Value, Default string
	Enum                                     []string
	IsArg                                    bool
}

// manuals reads the grammar.
func manuals() (all []manual) {
	for _, c := range reflect.VisibleFields(reflect.TypeFor[grammar]()) {
		if _, isCommand := c.Tag.Lookup("cmd"); !isCommand {
			continue
		}
		m := manual{Name: strings.ToLower(c.Name), Help: c.Tag.Get("help")}
		for _, f := range reflect.VisibleFields(c.Type) {
			if f.Anonymous {
				continue
			}
			o := option{f.Tag.Get("name"), f.Tag.Get("group"), f.Tag.Get("short"), f.Tag.Get("help"), f.Tag.Get("placeholder"), f.Tag.Get("default"), nil, false}
			if o.Name == "" {
				o.Name = strings.ToLower(f.Name)
			}
			o.Enum = slices.DeleteFunc(strings.Split(f.Tag.Get("enum"), ","), func(s string) bool { return s == "" })
			_, o.IsArg = f.Tag.Lookup("arg")
			m.Options = append(m.Options, o)
		}
		all = append(all, m)
	}
	return all
}

func (f option) Failure() string  { return failures[f.Name] }
func (f option) Variable() string { return variable(f.Name) }

func (f option) Example() string {
	if f.Value == "" {
		return "--" + f.Name
	}
	return sources{}.example(f.Name)
}

// Kind is what the value of a flag is made of.
func (f option) Kind() string {
	switch {
	case len(f.Enum) > 0:
		return "enum"
	case f.Name == "caps" || f.Name == "optional-caps" || f.Name == "allow":
		return "caps"
	case f.Value == "" && !f.IsArg:
		return ""
	}
	return f.Name // user, groups, sets, ignore-signals, pid, dest
}

// The templates have these beside what is built in.
var functions = template.FuncMap{
	"all":     manuals,
	"caps":    ambient.NamedCaps.Names,
	"list":    func(words ...string) []string { return words },
	"since":   func(n int) string { return ambient.Cap(n).Since() },
	"signals": func() []string { return strings.Fields(strings.ToUpper(strings.Join(signalNames[1:], " "))) },
	"sets":    func() []string { return []string{"permitted", "effective", "inheritable", "ambient", "bounding"} },
	"join":    strings.Join,
	"upper":   strings.ToUpper,
	// replace has pairs of what goes and what comes behind the text, or in front of it.
	"replace": func(words ...string) string {
		return strings.NewReplacer(words[:len(words)-1]...).Replace(words[len(words)-1])
	},
	// own are the flags of a command that run does not have.
	"own": func(command string) (own []option) {
		all := manuals()
		for _, f := range all[slices.IndexFunc(all, func(m manual) bool { return m.Name == command })].Options {
			if command != "explain" || !slices.ContainsFunc(all[0].Options, func(r option) bool { return r.Name == f.Name }) {
				own = append(own, f)
			}
		}
		return own
	},
}

// The manual and the completions are those of the grammar: each is made of a template beside it.
func TestManPageAndCompletions(t *testing.T) {
	for _, name := range []string{"caplaunch.1", "completions/caplaunch.bash", "completions/_caplaunch", "completions/caplaunch.fish"} {
		path := "../../packaging/" + name
		source, err := os.ReadFile(path + ".in")
		unit.Must(t, err)
		var want strings.Builder
		unit.Must(t, template.Must(template.New(name).Funcs(functions).Parse(string(source))).Execute(&want, nil))
		if got, err := os.ReadFile(path); err == nil && string(got) == want.String() {
			continue
		}
		if !*update {
			t.Errorf("%s differs: go test ./cmd/caplaunch -run ManPage -update", path)
			continue
		}
		unit.Must(t, os.WriteFile(path, []byte(want.String()), 0o644))
	}
}

// Every flag says what happens when it fails, and its example is a line that is understood.
func TestEveryFlagHasAnExampleAndAFailure(t *testing.T) {
	more := map[string][]string{"run": {"--", "true"}, "explain": {"--", "true"}, "check": {"--allow=none"}, "install": {"/shared"}}
	for _, m := range manuals() {
		for _, f := range m.Options {
			if f.IsArg {
				continue
			}
			if f.Failure() == "" {
				t.Errorf("%s --%s: what if it fails?", m.Name, f.Name)
			}
			words := []string{m.Name, f.Example()}
			if f.Name == "sets" && m.Name != "check" {
				words = append(words, "--strict")
			}
			if m.Name != "check" || f.Name != "allow" {
				words = append(words, more[m.Name]...)
			}
			if _, err := parse(words, nil, &strings.Builder{}); err != nil {
				t.Errorf("%q: %v", words, err)
			}
		}
	}
}
