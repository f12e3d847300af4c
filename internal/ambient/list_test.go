package ambient_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

func TestListsAreRead(t *testing.T) {
	for list, want := range map[string]Set{
		"net_admin": 1 << 12, "NET_ADMIN": 1 << 12, "cap_net_admin": 1 << 12, "CAP_NET_ADMIN": 1 << 12, "Cap_Net_Raw": 1 << 13,
		"12": 1 << 12, "0": 1, "63": 1 << 63, "chown,net_raw": 1<<0 | 1<<13, "chown net_raw\tkill": 1<<0 | 1<<13 | 1<<5,
		",chown,,kill,": 1<<0 | 1<<5, "chown,CHOWN": 1, "none": 0, "checkpoint_restore": 1 << 40,
	} {
		if got, err := ParseList(list); err != nil || got.Set != want || got.All {
			t.Errorf("ParseList(%q) = %+v, %v, want %v", list, got, err, want)
		}
	}
	if got, err := ParseList("chown", "All"); err != nil || !got.All || got.Set != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHostileListsAreRefused(t *testing.T) {
	for _, list := range []string{"", ",", " \t", "none,chown", "chown,none"} {
		if _, err := ParseList(list); !errors.Is(err, ErrEmptyList) && !errors.Is(err, ErrNone) {
			t.Errorf("ParseList(%q): %v", list, err)
		}
	}
	for list, near := range map[string]string{
		"net_amdin": "net_admin", "netadmin": "net_admin", "net-admin": "net_admin", "sys_adm1n": "sys_admin", "set_uid": "setuid", "CAP_CAP_NET_ADMIN": "net_admin",
		"64": "", "-1": "", "+12": "", "012": "", "0xc": "", "4294967308": "", "99999999999999999999": "",
		"cap_": "", "zzz": "", "net_admin;id": "net_admin", "net_admin=ep": "net_admin", "-net_admin": "", "net_bind": "net_bind_service", "\x00": "", "ЧОWN": "", "ﬀ": "", strings.Repeat("a", 1<<16): "", strings.Repeat("9", 1<<16): "", "cap_cap_" + strings.Repeat("a", 1<<16): "", "chown=" + strings.Repeat("a", 1<<16): "chown",
	} {
		var e *UnknownCapError
		if _, err := ParseList(list); !errors.As(err, &e) || len(err.Error()) > 200 {
			t.Errorf("ParseList(%.20q): %v", list, err)
		} else if e.Near() != near {
			t.Errorf("ParseList(%.20q) suggests %q, want %q", list, e.Near(), near)
		}
	}
}

func TestSetsAreRead(t *testing.T) {
	for list, want := range map[string]SetMask{"permitted": InPermitted, "Bounding, ambient": InBounding | InAmbient, "inheritable effective": InInheritable | InEffective} {
		for _, text := range []string{list, want.String()} {
			if got, err := ParseSets(text); err != nil || got != want {
				t.Errorf("ParseSets(%q) = %v, %v, want %v", text, got, err, want)
			}
		}
	}
	var e *UnknownSetError
	if _, err := ParseSets("permitted,net_admin"); !errors.As(err, &e) || e.Name != "net_admin" {
		t.Error(err)
	}
	if _, err := ParseSets(strings.Repeat("a", 1<<16)); err == nil || len(err.Error()) > 200 {
		t.Error(err)
	}
	for _, list := range []string{"", ", ,"} {
		if _, err := ParseSets(list); !errors.Is(err, ErrEmptyList) {
			t.Errorf("ParseSets(%q): %v", list, err)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"net_admin", "cap_cap_chown", "all", "none", "64", "a,b c", "net_amdin"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := ParseList(list)
		if err != nil {
			_ = err.Error()
			return
		}
		if again, err := ParseList(got.Set.String()); err != nil || again.Set != got.Set {
			t.Fatalf("%v is read back as %v, %v", got.Set, again.Set, err)
		}
	})
}
