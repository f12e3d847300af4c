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
		r, err := output(cmd, 200*time.Millisecond)
		if err == nil || !strings.Contains(r.Stdout, "here") || time.Since(start) > 20*time.Second {
			t.Errorf("%s: error %v after %v: %v", name, err, time.Since(start), r)
		}
	}
}

func TestCaplaunchIsACopyThatOthersMayExecute(t *testing.T) {
	t.Setenv("CAPLAUNCH_BIN", "/bin/true")
	RequireRoot(t)
	if r := Start(t, []string{"-u", "65532", "-g", "65532"}, Caplaunch(t)); r.Code != 0 {
		t.Error(r)
	}
}
