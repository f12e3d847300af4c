package main

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// told is the error and the hint for a command line that cannot be understood;
// words are split at "|".
func told(line string) (msg, hint string) {
	before, after := split(strings.Split(line, "|"))
	g, _, err := parse(before, after, io.Discard)
	if err == nil {
		flags := g.Run.launchFlags
		if commandOf(before) == "explain" {
			flags = g.Explain.launchFlags
		}
		_, _, err = (&launch{flags: flags}).parse()
	}
	var usage *usageError
	if !errors.As(err, &usage) {
		return "", ""
	}
	return usage.Error(), usage.hint
}

// What is hinted is what was meant, and never less protection than was asked
// for.
func TestUsageHintsAreWhatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"--allo=net_raw|--|id":                    "--allow=net_raw",
		"--allo|net_raw|--|id":                    "--allow=net_raw",
		"--set=ambient|--|id":                     "--sets=ambient",
		"--keep|--|id":                            "caplaunch --help shows the flags",
		"--cap_add=net_raw|--|id":                 "--caps=net_raw",
		"--cap-add|NET_RAW|--|id":                 "--caps=NET_RAW",
		"--cap-add|-u|1:1|--|id":                  "--caps=net_admin,net_raw",
		"--optional_caps=net_raw|--|id":           "--optional-caps=net_raw",
		"--Caps=net_raw|--|id":                    "--caps=net_raw",
		"--usr|--caps=net_raw|--|id":              "--user=65532:65532",
		"--usr=a b|--|id":                         "--user='a b'",
		"--user|--caps=net_raw|--|id":             "--user=65532:65532",
		"-u|--|id":                                "--user=65532:65532",
		"--bounding|-u|1:1|--|id":                 "--bounding=keep or --bounding=drop",
		"--bounding=dorp|--|id":                   "--bounding=drop",
		"--bounding=all|--|id":                    "--bounding=keep or --bounding=drop",
		"explain|--for=k8s":                       "--for=kubernetes",
		"explain|--for=kuberntes":                 "--for=kubernetes",
		"--log-format=JSON|--|id":                 "--log-format=json",
		"--quiet=maybe|--|id":                     "--quiet=true or --quiet=false",
		"--ignore-signals=SIGHPU,INT|--|id":       "--ignore-signals=hup,INT",
		"--ignore-signals=TERM,STOP|--|id":        "--ignore-signals=TERM",
		"--ignore-signals=STOP|--|id":             "--ignore-signals=PIPE",
		"--sets=bounding,foo|--|id":               "--sets=permitted,effective,inheritable,ambient,bounding",
		"--sets=bondings|--|id":                   "--sets=bounding",
		"-c|net_amdin,sys_admn,chown|--|id":       "--caps=chown,net_admin,sys_admin",
		"-c|nothing_near|--|id":                   "--caps=net_admin,net_raw (see capabilities(7)), or leave it out for none",
		"--allow=foo|--|id":                       "--allow=net_admin,net_raw (see capabilities(7)), or --allow=none",
		"--user=1:1|/relay|--|--listen":           "caplaunch --user=1:1 -- /relay -- --listen",
		"--user=1:1|/relay|--listen":              "caplaunch --user=1:1 -- /relay --listen",
		"-c|net_amdin|relay":                      "--caps=net_admin",
		"--strict|no|--|id":                       "--strict=no",
		"-caps|net_raw|--|id":                     "--caps=net_raw",
		"-user=1:1|--|id":                         "--user=1:1",
		"-u=1:1|--|id":                            "--user=1:1",
		"expain|--|id":                            "caplaunch explain -- id",
		"vesion":                                  "caplaunch version",
		"|--|id":                                  "caplaunch -- id",
		"-u|1:1||--|id":                           "caplaunch -u 1:1 -- id",
		"--log-format=json|show":                  "caplaunch show --log-format=json",
		"show|--pid=1":                            "caplaunch show 1",
		"chek|--allow=all":                        "caplaunch check --allow=all",
		"instal|/x":                               "caplaunch install /x",
		"sho":                                     "caplaunch show",
		"run|check|--|true":                       "caplaunch run -- check -- true",
		"check|-allow=all":                        "--allow=all",
		"check|all":                               "caplaunch check --allow=all",
		"show|1|2":                                "caplaunch show 1",
		"chek|-":                                  "caplaunch -- chek -",
		"-|x":                                     "caplaunch -- - x",
		"shell":                                   "caplaunch -- shell",
		"sho|-c|x|id":                             "caplaunch -- sho -c x id",
		"--allow=net_amdin,-net_raw|--|id":        "--allow=net_admin",
		"--allow=-net_raw|--|id":                  "--allow=none",
		"--caps=nope,net_raw|--|id":               "--caps=net_raw",
		"--groups=1,-1,5|--|id":                   "--groups=1,5, or leave it out for the groups of --user",
		"--user=nobody:-1|--|id":                  "--user=nobody",
		"--user=7:x/y|--|id":                      "--user=7:7",
		"sh|-c|echo a\necho b":                    "caplaunch -- sh -c $'echo a\\necho b'",
		"-u|2:2|-c|net_raw|chown|--strict|--|P":   "caplaunch -u 2:2 -c net_raw,chown --strict -- P",
		"-c|net_raw|env|--strict|--|P":            "caplaunch -c net_raw --strict -- P",
		"--groups|5|6|-u|2:2|--|P":                "caplaunch --groups 5,6 -u 2:2 -- P",
		"—user=2:2|--|P":                          "caplaunch --user=2:2 -- P",
		"-u|1:1|—|id":                             "caplaunch -u 1:1 -- id",
		"explain|run|-u|2:2|--|P":                 "caplaunch explain -u 2:2 -- P",
		"-u|1:1|git|log|-p|--|f":                  "caplaunch -u 1:1 -- git log -p -- f",
		"-u|1:1|sh|-c|echo x|--|y":                "caplaunch -u 1:1 -- sh -c 'echo x' -- y",
		"--zzz is no process number|--|true":      "caplaunch --help shows the flags",
		"show|--x is no process number=y":         "caplaunch show --help shows the flags",
		"--allow=all,-sys_admn|--|id":             "--allow=" + (ambient.UpTo(ambient.Cap(ambient.Named()-1)) &^ ambient.SetOf(21)).String(),
		"--allow=all,-all|--|id":                  "--allow=none",
		"--allow=all,-nosuchword|--|id":           "--allow=net_admin,net_raw (see capabilities(7)), or --allow=none",
		"--caps=net_raw,-net_raw,net_amdin|--|id": "--caps=net_admin",
		"check|--allow=net_admin|net_raw":         "caplaunch check --allow=net_admin,net_raw",
		"check|--allow|net_admin|net_raw|--json":  "caplaunch check --allow net_admin,net_raw --json",
		"check|--sets=bounding|--allow=net_admin|--pid=1|all": "caplaunch check --sets=bounding --allow=net_admin --pid=1",
		"check|--sets=bounding|all":                           "caplaunch check --sets=bounding --allow=all",
		"show|--json|1|2":                                     "caplaunch show --json 1",
		"version|x":                                           "caplaunch version",
		"install|/a|/b":                                       "caplaunch install /a",
		"-u|1:1|foo|--strict|--allow=nett_admin|--|true":      "--allow=net_admin",
		"-u|1:1|--groups|5|nginx|--|-g|x":                     "caplaunch -u 1:1 --groups 5 -- nginx -- -g x",
		"--groups=$(id);x,+5|--|id":                           "--groups='$(id);x', or leave it out for the groups of --user",
		"–u|1:1|--|id":                                        "caplaunch -u 1:1 -- id",
		"–-strict|--|id":                                      "caplaunch --strict -- id",
		"check|x|--allow=kill":                                "caplaunch check --allow=kill",
		"show|abc":                                            "caplaunch show 1",
		"check":                                               "caplaunch check --allow=net_admin,net_raw",
		"check|--allow=all|--pid=abc":                         "--pid=1",
		"check|--allow=all|--pid=0x1":                         "--pid=1",
		"show|0":                                              "caplaunch show 1",
		"check|--allow=all|--|true":                           "caplaunch check --allow=all",
		"check|--cap-add=kill|--allow=all":                    "caplaunch check --help shows the flags",
		"install":                                             "caplaunch install /shared",
		"show|-1":                                             "caplaunch show 1",
		"--version":                                           "caplaunch version",
		"-V":                                                  "caplaunch version",
		"install|--|/tmp/d":                                   "caplaunch install /tmp/d",
		"--reuid=1|--regid=2|--|id":                           "--user=1:2",
		"--user=1:2|--regid=2|--|id":                          "--user=1:2",
		"--ambient-caps|+net_raw|--|id":                       "--caps=net_raw",
		"--cap-drop|ALL|--|id":                                "leave --cap-drop ALL out: what --caps does not name is dropped anyway, and no_new_privs set",
		"--no-new-privs|--|id":                                "leave --no-new-privs out: what --caps does not name is dropped anyway, and no_new_privs set",
		"run|--":                                              "caplaunch run -- PROGRAM",
		"explain|-c|kill":                                     "caplaunch explain -c kill -- PROGRAM",
		"--user=1:1|--groups=5|--keep-groups|--|id":           "caplaunch --keep-groups in place of --groups, or the other way round",
		"-u1000|--gid=0|--|id":                                "--user=1000:0",
		"--gid=0|--|id":                                       "--user=65532:65532",
		"--regid=5|-u1000:1000|--|id":                         "--user=1000:5",
		"--ambient-caps=-all,+net_admin|--|true":              "--caps=net_admin",
		"--caps=full|--|true":                                 "--caps=net_admin,net_raw (see capabilities(7)), or leave it out for none",
		"--caps=all,-sys_admin|--|true":                       "--caps=" + (ambient.UpTo(ambient.Cap(ambient.Named()-1)) &^ ambient.SetOf(21)).String(),
		"--caps=none,net_admin|--|id":                         "--caps=net_admin",
		"-c|none|-c|none|--|id":                               "--caps=none",
		"--allow-new-privs=off|--|id":                         "--allow-new-privs=false",
		"--strict=on|--|id":                                   "--strict=true",
		"--sets=permitted,all|--|id":                          "--sets=permitted,effective,inheritable,ambient,bounding",
		"--stric=true|--|id":                                  "--strict",
		"--strip|--|id":                                       "--strip-file-caps",
		"--disallow=net_admin|--|id":                          "caplaunch --help shows the flags",
		"ruby|app.rb":                                         "caplaunch -- ruby app.rb",
		"cron|-f":                                             "caplaunch -- cron -f",
		"chown|root|file":                                     "caplaunch -- chown root file",
		"-u|1:1|find|.|-user|root":                            "caplaunch -u 1:1 -- find . -user root",
		"-u|1:1|ping|-c=3|host":                               "caplaunch -u 1:1 -- ping -c=3 host",
		"-u|1:1|df|-h":                                        "caplaunch -u 1:1 -- df -h",
		"-c|net_admin|-u|1:1|explain|--|true":                 "caplaunch explain -c net_admin -u 1:1 -- true",
		"run|explain|-u|1:1|--|true":                          "caplaunch explain -u 1:1 -- true",
		"-q|true|-u|1:1|--|id":                                "--quiet=true",
		"install|--|-dir":                                     "caplaunch install ./-dir",
	} {
		msg, hint := told(line)
		if msg == "" || hint != want {
			t.Errorf("%s: %s\nhint %q\nwant %q", line, msg, hint, want)
		}
		// A whole line is pasted into a shell, and understood.
		if !strings.HasPrefix(hint, "caplaunch ") || strings.Contains(hint, " --help shows") || strings.Contains(hint, " in place of ") {
			continue
		}
		words, err := exec.Command("bash", "-c", "caplaunch() { printf '%s|' \"$@\"; }; "+hint).Output()
		if err != nil {
			t.Errorf("%s: hint %q: %v", line, hint, err)
		} else if again, _ := told(strings.TrimSuffix(string(words), "|")); again != "" {
			t.Errorf("%s: hint %q: %s", line, hint, again)
		}
	}
}
