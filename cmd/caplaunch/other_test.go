//go:build !linux

package main

import (
	"bytes"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

// command runs a command line on a system that has no capabilities.
func command(words string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := newApp()
	a.stdout, a.stderr = &out, &errs
	code = a.main(append([]string{"caplaunch"}, strings.Fields(words)...))
	return code, out.String(), errs.String()
}

func TestCheckSkipsOnceAndSucceeds(t *testing.T) {
	said := "caplaunch: skipping linux-only capability check on " + runtime.GOOS + "\n"
	for _, words := range []string{"check --allow=none", "check --allow=none --pid=1", "check --allow=net_admin --sets=bounding"} {
		if code, out, errs := command(words); code != 0 || out != "" || errs != said {
			t.Errorf("%s: %d %q %q", words, code, out, errs)
		}
	}
	var o outcome
	code, out, errs := command("check --allow=none --json --log-format=json")
	if err := json.Unmarshal([]byte(out), &o); err != nil || code != 0 || !o.OK || o.Skipped == "" || !strings.HasPrefix(errs, `{"level":"info"`) {
		t.Errorf("%d %q %q", code, out, errs)
	}
	for _, words := range []string{"check", "check --allow=net_amdin"} {
		if code, _, errs := command(words); code != 125 || !strings.Contains(errs, "caplaunch: error: ") {
			t.Errorf("%s: %d %q", words, code, errs)
		}
	}
}

func TestOnlyVersionAndExplainForDoWithoutLinux(t *testing.T) {
	for _, words := range []string{"-u 1:1 -- true", "run -u 1:1 -- true", "explain -u 1:1 -- true", "show", "show 1", "install /tmp"} {
		if code, out, errs := command(words); code != 125 || out != "" || !strings.Contains(errs, "needs Linux, this is "+runtime.GOOS) || !strings.Contains(errs, "caplaunch: hint: ") {
			t.Errorf("%s: %d %q %q", words, code, out, errs)
		}
	}
	for words, want := range map[string]string{"version": runtime.GOOS, "explain --for=docker -c net_admin -u 1:1": "--cap-add=NET_ADMIN", "explain --for=kubernetes -c net_admin -u 0:0": "securityContext:"} {
		if code, out, errs := command(words); code != 0 || !strings.Contains(out, want) || errs != "" {
			t.Errorf("%s: %d %q %q", words, code, out, errs)
		}
	}
}
