package engine

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestACommandThatHangsIsKilledAndItsOutputShown(t *testing.T) {
	for name, cmd := range map[string]*exec.Cmd{
		"itself":            exec.Command("sh", "-c", "echo here; exec sleep 60"),
		"a child of it":     exec.Command("sh", "-c", "echo here; sleep 60; true"),
		"one it left alone": exec.Command("sh", "-c", "echo here; sleep 60 &"),
	} {
		start := time.Now()
		r, err := Output(cmd, 200*time.Millisecond)
		if err == nil || !strings.Contains(r.Stdout, "here") || time.Since(start) > 20*time.Second {
			t.Errorf("%s: error %v after %v: %v", name, err, time.Since(start), r)
		}
	}
}

func TestCaplaunchIsACopyThatOthersMayExecute(t *testing.T) {
	t.Setenv("TEST_BIN", "/bin/true")
	RequireRoot(t)
	if r := Start(t, []string{"-u", "65532", "-g", "65532"}, Caplaunch(t)); r.Code != 0 {
		t.Error(r)
	}
}

func TestCapstartReachesTheStateItIsTold(t *testing.T) {
	RequireRoot(t)
	probe := Probe(t)
	state := func(options string) Result { return Start(t, strings.Fields(options), probe) }
	none := func(id string) Promise { return Promised(id, 0).With("NoNewPrivs", "0") }
	none("65532").With("Groups", "", "CapBnd", Mask(NetAdmin)).Want(t, state("-u 65532 -g 65532 -G none -b 1000"))
	none("0").With("Groups", "0", "CapPrm", Mask(NetAdmin), "CapEff", Mask(NetAdmin), "CapBnd", Mask(0x10c0), "NoNewPrivs", "1").Want(t, state("-p 1000 -b 10c0 -G 0 -n"))
	none("0").With("Groups", "5 6 7 9", "securebits", "1", "CapInh", Mask(0x13)).Want(t, state("-u 0 -G 5-7,9 -s 1 -I 13 -M 10 -i 13"))
	bare := Tree(t, map[string]Src{"/probe": File(probe)})
	Promised("65532", NetAdmin).With("NoNewPrivs", "0", "Groups", "*", "proc", "0", "cwd", "/").
		Want(t, Start(t, []string{"-R", bare, "-u", "65532", "-g", "65532", "-i", "1000", "-a", "1000", "-b", "1000"}, "/probe"))
	if r := state("-a ffffffffffffffff"); r.Code != 120 {
		t.Errorf("an impossible state: want 120: %v", r)
	}
}
