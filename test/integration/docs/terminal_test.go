package docs

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// docs/terminal.svg is a recording of these commands, with the images of the README.
var recorded = []string{
	"docker run --rm --cap-drop=ALL caddy:2 caddy version",
	"docker run --rm --cap-drop=ALL web caddy version",
	"docker run --rm --user=65532:65532 --cap-add=NET_ADMIN alpine ip link add br0 type bridge",
	"docker run --rm --user=65532:65532 --cap-add=NET_ADMIN net",
	"docker run --rm --user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN \\\n    --security-opt=no-new-privileges net",
}

func TestTheRecordingIsWhatHappens(t *testing.T) {
	text := engine.Read(t, filepath.Join(engine.Root, "README.md"))
	s := session{page: "README.md", text: text}
	for _, b := range blocks(t, text) {
		for _, mark := range b.marks {
			if strings.HasPrefix(mark, "file: ") {
				s.do(t, b, mark)
			}
		}
	}
	s.open(t)
	got := said(t, s.here, append([]string{"docker build -q -t web caddy && docker build -q -t net net"}, recorded...))
	svg := terminal(recorded, got[1:])
	path := filepath.Join(engine.Root, "docs/terminal.svg")
	if *update {
		engine.Must(t, os.WriteFile(path, []byte(svg), 0o644))
	} else if engine.Read(t, path) != svg {
		t.Errorf("docs/terminal.svg shows something else; now it is %q", got[1:])
	}
}

// terminal draws the commands and what they said. Each appears in its turn where animations are shown, and all stand
// there where they are not.
func terminal(commands, said []string) string {
	const columns, height = 104, 19
	var body strings.Builder
	y, delay := 0, 0.0
	line := func(class, text string) {
		for {
			rest := ""
			if len(text) > columns {
				at := strings.LastIndex(text[:columns], " ")
				text, rest = text[:at], "    "+text[at+1:]
			}
			y += height
			fmt.Fprintf(&body, "<text class=%q x=\"16\" y=\"%d\" style=\"animation-delay:%.1fs\">%s</text>\n", class, y+14, delay, html.EscapeString(text))
			if text = rest; rest == "" {
				return
			}
		}
	}
	for i, c := range commands {
		prompt := "$ "
		for l := range strings.SplitSeq(c, "\n") {
			line("command", prompt+l)
			prompt = ""
		}
		delay += 1.2
		for l := range strings.Lines(said[i]) {
			class := "output"
			if strings.Contains(strings.ToLower(l), "not permitted") || strings.Contains(l, "error:") {
				class = "error"
			}
			line(class, strings.TrimSuffix(l, "\n"))
		}
		delay += 1.4
		y += height / 2
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 %d" role="img" xml:space="preserve" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13.4">
<title>Two images fail without caplaunch and run with it</title>
<style>
  rect { fill: #0d1117; stroke: #656c76 } text { fill: #c9d1d9; animation: appear 0.01s both }
  .command { fill: #fff; font-weight: 600 } .error { fill: #ff7b72 }
  @keyframes appear { from { opacity: 0 } to { opacity: 1 } }
  @media (prefers-reduced-motion: reduce) { text { animation: none } }
</style>
<rect x="0.5" y="0.5" width="859" height="%d" rx="8"/>
%s</svg>
`, y+32, y+31, body.String())
}
