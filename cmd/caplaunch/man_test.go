package main

import (
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
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
	name, help string
	options    []option
}

// An option is a flag, or an argument, with what only a reader asks for.
type option struct {
	name, group, short, help, value, fallback string
	enum                                      []string
	isArg                                     bool
}

// manuals reads the grammar.
func manuals() (all []manual) {
	for _, c := range reflect.VisibleFields(reflect.TypeOf(grammar{})) {
		if _, isCommand := c.Tag.Lookup("cmd"); !isCommand {
			continue
		}
		m := manual{name: strings.ToLower(c.Name), help: c.Tag.Get("help")}
		for _, f := range reflect.VisibleFields(c.Type) {
			if f.Anonymous {
				continue
			}
			_, isArg := f.Tag.Lookup("arg")
			name := f.Tag.Get("name")
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			m.options = append(m.options, option{
				name, f.Tag.Get("group"), f.Tag.Get("short"), f.Tag.Get("help"), f.Tag.Get("placeholder"), f.Tag.Get("default"),
				slices.DeleteFunc(strings.Split(f.Tag.Get("enum"), ","), func(s string) bool { return s == "" }), isArg,
			})
		}
		all = append(all, m)
	}
	return all
}

// own are the flags of a command that run does not have.
func (m manual) own(run manual) (own []option) {
	for _, f := range m.options {
		if m.name != "explain" || !slices.ContainsFunc(run.options, func(r option) bool { return r.name == f.name }) {
			own = append(own, f)
		}
	}
	return own
}

// roff escapes text, and begins a line with each sentence.
func roff(s string) string { return strings.NewReplacer(`\`, `\e`, "-", `\-`, ". ", ".\n").Replace(s) }

// page is one flag in the manual.
func (f option) page(command string) string {
	var b strings.Builder
	switch {
	case f.isArg:
		fmt.Fprintf(&b, ".It Ar %s\n", strings.ToUpper(f.name))
	default:
		b.WriteString(".It ")
		if f.short != "" {
			fmt.Fprintf(&b, "Fl %s , ", f.short)
		}
		fmt.Fprintf(&b, "Fl -%s", f.name)
		if f.value != "" {
			fmt.Fprintf(&b, " Ns = Ns Ar %s", f.value)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%s\n", roff(f.help))
	if f.isArg {
		return b.String()
	}
	if command == "run" {
		fmt.Fprintf(&b, "Variable:\n.Ev %s .\n", variable(f.name))
	}
	if f.fallback != "" {
		fmt.Fprintf(&b, "Default:\n.Ql %s .\n", f.fallback)
	}
	fmt.Fprintf(&b, "Example:\n.Ql %s .\n%s\n", roff(f.example()), roff(failures[f.name]))
	return b.String()
}

func (f option) example() string {
	if f.value == "" {
		return "--" + f.name
	}
	return sources{}.example(f.name)
}

// groupTitles are those of the help.
var groupTitles = []struct{ key, title string }{{"caps", "Capabilities"}, {"who", "Identity"}, {"allow", "Allowlist"}, {"process", "Process"}, {"output", "Output"}}

func capabilities() []string { return ambient.NamedCaps.Names() }

func manPage(t *testing.T, template string) string {
	parts := map[string]string{}
	all := manuals()
	for _, m := range all {
		parts["commands"] += fmt.Sprintf(".It Cm %s\n%s\n", m.name, roff(m.help))
		for _, f := range m.own(all[0]) {
			if m.name == "run" {
				parts["variables"] += fmt.Sprintf(".It Ev %s\n.Fl -%s\n", variable(f.name), f.name)
			} else {
				parts["flags "+m.name] += f.page(m.name)
			}
		}
	}
	for _, g := range groupTitles {
		parts["flags run"] += fmt.Sprintf(".Ss %s\n.Bl -tag -width Ds\n", g.title)
		for _, f := range all[0].options {
			if f.group == g.key {
				parts["flags run"] += f.page("run")
			}
		}
		parts["flags run"] += ".El\n"
	}
	for i, c := range capabilities() {
		line := c + " (" + fmt.Sprint(i)
		if since := ambient.Cap(i).Since(); since != "" {
			line += ", since Linux " + since
		}
		parts["capabilities"] += line + "),\n"
	}
	parts["capabilities"] = strings.TrimSuffix(parts["capabilities"], ",\n") + ".\n"
	for key, text := range parts {
		if !strings.Contains(template, "@"+key+"@\n") {
			t.Errorf("the template has no @%s@", key)
		}
		template = strings.ReplaceAll(template, "@"+key+"@\n", text)
	}
	return template
}

// The manual and the completions are those of the grammar.
func TestManPageAndCompletions(t *testing.T) {
	dir := filepath.Join("..", "..", "packaging")
	template, err := os.ReadFile(filepath.Join(dir, "caplaunch.1.in"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"caplaunch.1":                manPage(t, string(template)),
		"completions/caplaunch.bash": bashCompletion(),
		"completions/_caplaunch":     zshCompletion(),
		"completions/caplaunch.fish": fishCompletion(),
	} {
		path := filepath.Join(dir, name)
		if got, err := os.ReadFile(path); err == nil && string(got) == want {
			continue
		}
		if !*update {
			t.Errorf("%s differs: go test ./cmd/caplaunch -run ManPage -update", path)
		} else if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// Every flag says what happens when it fails, and its example is a line that is understood.
func TestEveryFlagHasAnExampleAndAFailure(t *testing.T) {
	for _, m := range manuals() {
		for _, f := range m.options {
			if f.isArg {
				continue
			}
			if failures[f.name] == "" {
				t.Errorf("%s --%s: what if it fails?", m.name, f.name)
			}
			words := []string{m.name, f.example()}
			if f.name == "sets" && m.name != "check" {
				words = append(words, "--strict")
			}
			if m.name == "check" && f.name != "allow" {
				words = append(words, "--allow=none")
			}
			if m.name == "run" || m.name == "explain" {
				words = append(words, "--", "true")
			}
			if m.name == "install" {
				words = append(words, "/shared")
			}
			if _, err := parse(words, nil, &strings.Builder{}); err != nil {
				t.Errorf("%q: %v", words, err)
			}
		}
	}
}

// kind is what the value of a flag is made of.
func (f option) kind() string {
	switch {
	case len(f.enum) > 0:
		return "enum"
	case f.name == "caps" || f.name == "optional-caps" || f.name == "allow":
		return "caps"
	case f.value == "" && !f.isArg:
		return ""
	}
	return f.name // user, groups, sets, ignore-signals, pid
}

var setNames = []string{"permitted", "effective", "inheritable", "ambient", "bounding"}

func signals() string { return strings.ToUpper(strings.Join(signalNames[1:], " ")) }

// spelled are the ways to write a flag.
func (f option) spelled() []string {
	if f.short != "" {
		return []string{"-" + f.short, "--" + f.name}
	}
	return []string{"--" + f.name}
}

const made = "# Made by go test ./cmd/caplaunch -run ManPage -update\n"

func bashCompletion() string {
	var b strings.Builder
	var names []string
	for _, m := range manuals() {
		names = append(names, m.name)
	}
	b.WriteString(made + `_caplaunch() {
	local cur=$2 prev=$3 command=run list='' i
	# Bash takes --flag=value and user:group for three words each.
	case $cur in
	= | :) cur='' prev=${COMP_WORDS[COMP_CWORD - 1]} ;;
	esac
	[[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
	[[ $cur == '' && ${COMP_WORDS[COMP_CWORD]} == = ]] && prev=${COMP_WORDS[COMP_CWORD - 1]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			if ((i + 1 == COMP_CWORD)); then
				mapfile -t COMPREPLY < <(compgen -c -- "$cur")
			else
				compopt -o default
				COMPREPLY=()
			fi
			return
		fi
	done
	case ${COMP_WORDS[1]} in
	` + strings.Join(names, " | ") + `) ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]} ;;
	esac
	case $command/$prev in
`)
	for _, m := range manuals() {
		for _, f := range m.options {
			if f.kind() == "" || f.isArg {
				continue
			}
			var patterns []string
			for _, s := range f.spelled() {
				patterns = append(patterns, m.name+"/"+s)
			}
			action := map[string]string{
				"caps": "list='all " + strings.Join(capabilities(), " ") + "'", "sets": "list='" + strings.Join(setNames, " ") + "'",
				"ignore-signals": "list='" + signals() + "'", "groups": `list=$(compgen -g)`,
				"user": `mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return`,
				"pid":  `mapfile -t COMPREPLY < <(cd /proc && compgen -d -X '![0-9]*' -- "$cur"); return`,
				"enum": `mapfile -t COMPREPLY < <(compgen -W '` + strings.Join(f.enum, " ") + `' -- "$cur"); return`,
			}[f.kind()]
			fmt.Fprintf(&b, "\t%s) %s ;;\n", strings.Join(patterns, " | "), action)
		}
	}
	b.WriteString(`	*/:) mapfile -t COMPREPLY < <(compgen -g -- "$cur"); return ;;
	esac
	if [[ $list ]]; then
		local before=''
		[[ $cur == *,* ]] && before=${cur%,*},
		mapfile -t COMPREPLY < <(compgen -P "$before" -W "$list" -- "${cur##*,}")
		compopt -o nospace
		return
	fi
	case $command in
`)
	for _, m := range manuals() {
		var words []string
		for _, f := range m.options {
			if !f.isArg {
				words = append(words, f.spelled()...)
			}
		}
		if m.name == "run" || m.name == "explain" {
			words = append(words, "--")
		}
		more := ""
		switch m.name {
		case "run":
			more = " ((COMP_CWORD == 1)) && list+=' " + strings.Join(names, " ") + "'"
		case "install":
			more = " compopt -o default"
		}
		fmt.Fprintf(&b, "\t%s) list='%s --help';%s ;;\n", m.name, strings.Join(words, " "), more)
	}
	b.WriteString(`	esac
	mapfile -t COMPREPLY < <(compgen -W "$list" -- "$cur")
}
complete -F _caplaunch caplaunch
`)
	return b.String()
}

func zshCompletion() string {
	var b strings.Builder
	b.WriteString("#compdef caplaunch\n" + made + `
_caplaunch_list() { # one of the words given, or several with commas between them
	_values -s , "$@"
}

_caplaunch_user() {
	if compset -P '*:'; then _groups; else _users; fi
}

_caplaunch() {
	local command=run
	local -a ours=(
`)
	for _, m := range manuals() {
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", m.name, strings.ReplaceAll(m.help, "'", `'\''`))
	}
	b.WriteString(`	)
	local i=${words[(i)--]}
	if (( i < CURRENT )); then # PROGRAM's own
		shift $i words
		(( CURRENT -= i ))
		_normal
		return
	fi
	if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
		_describe command ours
		return
	fi
	if (( ${ours[(I)$words[2]:*]} )); then
		command=$words[2]
		shift words
		(( CURRENT-- ))
	fi
	case $command in
`)
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, m := range manuals() {
		fmt.Fprintf(&b, "\t%s)\n\t\t_arguments -s -S \\\n", m.name)
		for _, f := range m.options {
			action := map[string]string{
				"":               "",
				"caps":           ":list:{_caplaunch_list capability all " + strings.Join(capabilities(), " ") + "}",
				"sets":           ":list:{_caplaunch_list set " + strings.Join(setNames, " ") + "}",
				"ignore-signals": ":list:{_caplaunch_list signal " + signals() + "}",
				"groups":         ":list:{_sequence _groups}", "user": ":user:_caplaunch_user",
				"pid": ":process:_pids", "dest": ":folder:_files",
				"enum": ":value:(" + strings.Join(f.enum, " ") + ")",
			}[f.kind()]
			switch {
			case f.isArg:
				fmt.Fprintf(&b, "\t\t\t'1%s' \\\n", action)
			case f.short != "" && action != "":
				fmt.Fprintf(&b, "\t\t\t'*'{-%s+,--%s=}'[%s]%s' \\\n", f.short, f.name, quote.Replace(f.help), action)
			case f.short != "":
				fmt.Fprintf(&b, "\t\t\t{-%s,--%s}'[%s]' \\\n", f.short, f.name, quote.Replace(f.help))
			case action != "":
				fmt.Fprintf(&b, "\t\t\t'*--%s=[%s]%s' \\\n", f.name, quote.Replace(f.help), action)
			default:
				fmt.Fprintf(&b, "\t\t\t'--%s[%s]' \\\n", f.name, quote.Replace(f.help))
			}
		}
		b.WriteString("\t\t\t'--help[Show context-sensitive help.]'\n\t\t;;\n")
	}
	b.WriteString("\tesac\n}\n\n_caplaunch \"$@\"\n")
	return b.String()
}

func fishCompletion() string {
	var b strings.Builder
	var names []string
	for _, m := range manuals() {
		names = append(names, m.name)
	}
	b.WriteString(made + `function __caplaunch_command
	set -l words (commandline -opc)
	contains -- -- $words; and return 1
	set -l command run
	contains -- "$words[2]" ` + strings.Join(names, " ") + `; and set command $words[2]
	contains -- $command $argv
end
complete -c caplaunch -f
complete -c caplaunch -n 'contains -- -- (commandline -opc)' -F -a '(__fish_complete_command)'
`)
	escape := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	for _, m := range manuals() {
		fmt.Fprintf(&b, "complete -c caplaunch -n 'test (count (commandline -opc)) = 1' -a %s -d '%s'\n", m.name, escape.Replace(m.help))
		for _, f := range m.options {
			if f.isArg {
				if f.name == "dest" {
					fmt.Fprintf(&b, "complete -c caplaunch -n '__caplaunch_command %s' -F\n", m.name)
				}
				continue
			}
			line := fmt.Sprintf("complete -c caplaunch -n '__caplaunch_command %s' -l %s", m.name, f.name)
			if f.short != "" {
				line += " -s " + f.short
			}
			if action := map[string]string{
				"caps":           "(__fish_append , all " + strings.Join(capabilities(), " ") + ")",
				"sets":           "(__fish_append , " + strings.Join(setNames, " ") + ")",
				"ignore-signals": "(__fish_append , " + signals() + ")",
				"groups":         "(__fish_append , (__fish_complete_groups | string replace -r \"\\t.*\" \"\"))", "user": "(__fish_complete_users)", "pid": "(__fish_complete_pids)",
				"enum": strings.Join(f.enum, " "),
			}[f.kind()]; action != "" {
				line += " -x -a '" + action + "'"
			}
			fmt.Fprintf(&b, "%s -d '%s'\n", line, escape.Replace(f.help))
		}
	}
	return b.String()
}
