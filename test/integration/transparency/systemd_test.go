package transparency

import (
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// boot gives a systemd in which /usr/local/bin has caplaunch, the launcher in C, the probe and the service.
func boot(t testing.TB) *engine.Systemd {
	t.Helper()
	s := engine.TheSystemd(t)
	install.Do(func() {
		for name, path := range map[string]string{"caplaunch": engine.Caplaunch(t), "claunch": engine.Starter(t, "claunch"), "probe": engine.Probe(t)} {
			s.Cp(t, path, "/usr/local/bin/"+name, 0o755)
		}
		s.WriteFile(t, service, perl, 0o755)
	})
	return s
}

var install sync.Once

const service = "/usr/local/bin/service"

// perl is the service: it does one thing, and says how it went.
const perl = `#!/usr/bin/perl
use Socket;
my ($mode, $arg) = @ARGV;
$| = 1;
sub who {
	open my $status, "<", "/proc/self/status";
	my %s = map { /^(\w+):\s+(\w+)/ ? ($1, $2) : () } <$status>;
	sprintf "uid %d gid %d ambient %x no_new_privs %d\n", @s{qw(Uid Gid)}, hex $s{CapAmb}, $s{NoNewPrivs};
}
sub is { $ENV{$_[0]} == $$ ? "self" : "another" }
if ($mode eq "listen") { # answers one connection on each socket
	for my $fd (3 .. 2 + $ENV{LISTEN_FDS}) {
		open my $socket, "+<&=", $fd;
		accept my $c, $socket;
		print $c "sockets $ENV{LISTEN_FDS} names $ENV{LISTEN_FDNAMES} pid ", is("LISTEN_PID"), " ", who();
	}
} elsif ($mode eq "notify") { # READY=1, then some signs of life to the watchdog, then none
	(my $path = $ENV{NOTIFY_SOCKET}) =~ s/^@/\0/;
	socket my $s, AF_UNIX, SOCK_DGRAM, 0;
	send $s, "READY=1\nSTATUS=ready indeed", 0, pack_sockaddr_un $path;
	print "watchdog ", is("WATCHDOG_PID"), "\n";
	for (1 .. $arg) {
		select undef, undef, undef, 0.1;
		send $s, "WATCHDOG=1", 0, pack_sockaddr_un $path;
	}
	sleep;
} elsif ($mode eq "credential") {
	my $f;
	print open($f, "<", "$ENV{CREDENTIALS_DIRECTORY}/$arg") ? <$f> : $!{EACCES} ? "EACCES" : $!, "\n";
} elsif ($mode eq "who") {
	print who();
}
`

// How the service is started: by systemd alone, from root, and as the user that it becomes.
var (
	root    = launcher{"/usr/local/bin/caplaunch", "--caps=net_admin", "--user=65532:65532", "--"}
	asUser  = []string{"User=nonroot", "AmbientCapabilities=CAP_NET_ADMIN"}
	bounded = []string{"CapabilityBoundingSet=CAP_NET_ADMIN CAP_SETUID CAP_SETGID"}
)

// forms are the three, as properties and words in front of the program.
var forms = map[string]struct {
	properties []string
	launcher   launcher
}{
	"without caplaunch": {append(asUser, "NoNewPrivileges=yes"), nil},
	"from root":         {bounded, root},
	"as the user":       {asUser, root},
}

// unitFile is the text of a service file.
func unitFile(properties []string, argv ...string) string {
	return "[Service]\n" + strings.Join(properties, "\n") + "\nExecStart=" + strings.Join(argv, " ") + "\n"
}

// newName is a name for units that was not used before: the journal keeps what it heard.
func newName() string { return fmt.Sprintf("transparency%d", names.Add(1)) }

var names atomic.Int64

// The whole of what a service finds, in a real one: the mirror started by systemd.
func TestServiceFindsWhatItFindsWithoutCaplaunch(t *testing.T) {
	t.Parallel()
	s := boot(t)
	common := []string{
		"LimitNOFILE=2000:3000", "Nice=4", "OOMScoreAdjust=77", "UMask=0027", "CPUSchedulingPolicy=batch", "IOSchedulingClass=idle",
		"TimerSlackNSec=123us", "WorkingDirectory=/usr/local", "Environment=GOMEMLIMIT=x A=1", "KeyringMode=private", "StandardOutput=null", "StandardInput=null", "StandardError=null",
	}
	find := func(properties []string, l launcher) string {
		out := "/tmp/mirror.out"
		name := newName() + ".service"
		argv := append(slices.Clone(l), "/usr/local/bin/probe", "mirror", out)
		s.WriteUnit(t, name, unitFile(slices.Concat([]string{"Type=oneshot"}, common, properties), argv...))
		s.Systemctl(t, "start", name)
		report := otherUnits.ReplaceAllString(engine.Read(t, s.Path(out)), "$1 …")
		_ = os.Remove(s.Path(out))
		return digits(report, "autogroup", "keyring_session", "namespace ipc")
	}
	// An id without an entry in passwd, so that there is nothing to look up.
	fromRoot := find(bounded, launcher{"/usr/local/bin/claunch", "64000", "64000", netAdmin})
	equal(t, "from root", fromRoot, find(bounded, launcher{"/usr/local/bin/caplaunch", "--caps=net_admin", "--user=64000:64000", "--"}), nil)
	has(t, fromRoot, "ignored 0000000000001000\n", "rlimit nofile 2000 3000\n", "nice 4\n", "timerslack 123000\n", "sid self\n", "env \"GOMEMLIMIT=x\"\n")
	alone := find(append(asUser, "NoNewPrivileges=yes"), nil)
	equal(t, "as the user", alone, find(asUser, root), nil)
	has(t, alone, "status CapAmb 0000000000001000\n", "status NoNewPrivs 1\n")
}

// otherUnits is what each unit has of its own.
var otherUnits = regexp.MustCompile(`(?m)^(pid|cgroup|env "INVOCATION_ID|env "SYSTEMD_EXEC_PID|env "JOURNAL_STREAM).*$`)

func TestSocketActivation(t *testing.T) {
	t.Parallel()
	s := boot(t)
	for name, f := range forms {
		n := newName()
		s.WriteUnit(t, n+".socket", "[Socket]\nListenStream=/run/"+n+".a\nFileDescriptorName=a\n")
		s.WriteUnit(t, n+"b.socket", "[Socket]\nListenStream=/run/"+n+".b\nFileDescriptorName=b\nService="+n+".service\n")
		s.WriteUnit(t, n+".service", unitFile(append([]string{"Sockets=" + n + ".socket " + n + "b.socket"}, f.properties...), append(f.launcher, service, "listen")...))
		s.Systemctl(t, "start", n+".socket", n+"b.socket")
		var ends [2]net.Conn
		for i, end := range []string{".a", ".b"} {
			c, err := net.Dial("unix", s.Path("/run/"+n+end))
			engine.Must(t, err)
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			ends[i] = c
		}
		const want = "sockets 2 names a:b pid self uid 65532 gid 65532 ambient 1000 no_new_privs 1\n"
		for _, c := range ends {
			b, err := io.ReadAll(c)
			if got := string(b); got != want && got != strings.Replace(want, "a:b", "b:a", 1) {
				t.Errorf("%s: %q, %v\n%s", name, got, err, s.Journal(t, n+".service"))
			}
		}
	}
}

func TestNotifyAndWatchdog(t *testing.T) {
	t.Parallel()
	s := boot(t)
	for name, f := range forms {
		n := newName() + ".service"
		s.WriteUnit(t, n, unitFile(append([]string{"Type=notify", "NotifyAccess=main", "WatchdogSec=1", "WatchdogSignal=SIGKILL", "TimeoutStartSec=20"}, f.properties...), append(f.launcher, service, "notify", "15")...))
		start := time.Now()
		s.Systemctl(t, "start", n) // ends with READY=1, or fails
		if got := s.Show(t, n, "StatusText"); got != "ready indeed" {
			t.Errorf("%s: status %q", name, got)
		}
		if !engine.Await(func() bool { return s.Show(t, n, "Result") == "watchdog" }) || time.Since(start) < 1500*time.Millisecond {
			t.Errorf("%s: %q after %v\n%s", name, s.Show(t, n, "Result"), time.Since(start), s.Journal(t, n))
		}
		if log := s.Journal(t, n); !strings.Contains(log, "watchdog self\n") {
			t.Errorf("%s: WATCHDOG_PID is another: %s", name, log)
		}
	}
}

// Credentials belong to the user that systemd starts: root's cannot be read after the switch.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := boot(t)
	s.WriteFile(t, "/root/secret", "hidden", 0o600)
	for name, want := range map[string]string{"without caplaunch": "hidden\n", "as the user": "hidden\n", "from root": "EACCES\n"} {
		f := forms[name]
		for _, how := range []string{"LoadCredential=x:/root/secret", "SetCredential=x:hidden"} {
			if r := s.RunUnit(t, append([]string{how}, f.properties...), append(f.launcher, service, "credential", "x")...); r.Stdout != want {
				t.Errorf("%s, %s: want %q: %v", name, how, want, r)
			}
		}
	}
}

func TestDynamicUser(t *testing.T) {
	t.Parallel()
	s := boot(t)
	properties := []string{"DynamicUser=yes", "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"}
	r := s.RunUnit(t, properties, "/usr/local/bin/caplaunch", "--caps=net_admin", "--", service, "who")
	var uid, gid int
	if n, _ := fmt.Sscanf(r.Stdout, "uid %d gid %d ambient 1000 no_new_privs 1\n", &uid, &gid); r.Code != 0 || n != 2 || uid < 61184 || uid > 65519 || uid != gid {
		t.Errorf("not a dynamic user with NET_ADMIN alone: %v", r)
	}
	// Which user it will be is not known beforehand, so that no other can be asked for.
	if r := s.RunUnit(t, properties, append(root, service, "who")...); r.Code != 125 || r.Stdout != "" {
		t.Errorf("another user than it has: %v", r)
	}
}
