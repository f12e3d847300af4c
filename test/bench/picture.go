//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// growthTable shows the panels as a table: milliseconds, and the ratio to the smallest size.
func growthTable(panels []panel) string {
	var s strings.Builder
	s.WriteString("| growth | size |")
	for _, line := range panels[0].series {
		fmt.Fprintf(&s, " %s, ms |", line.name)
	}
	s.WriteString("\n| --- | --: |" + strings.Repeat(" --: |", len(panels[0].series)) + "\n")
	for _, p := range panels {
		for i, size := range p.sizes {
			title := ""
			if i == 0 {
				title = p.title
			}
			fmt.Fprintf(&s, "| %s | %d |", title, size)
			for _, line := range p.series {
				fmt.Fprintf(&s, " %.2f (× %.1f) |", line.ms[i], line.ms[i]/line.ms[0])
			}
			s.WriteString("\n")
		}
	}
	return s.String()
}

// style has a ground of its own, so that the picture can be read on a light page and on a dark one.
const style = `<style>
.ground{fill:#fff}.axis{stroke:#b9b9b9}.text{fill:#333;font:12px sans-serif}.caplaunch{stroke:#0b62c4}.setpriv{stroke:#b35900}.gosu{stroke:#2b7a2b}
polyline{fill:none;stroke-width:2}
text.caplaunch{fill:#0b62c4;stroke:none}text.setpriv{fill:#b35900;stroke:none}text.gosu{fill:#2b7a2b;stroke:none}
@media(prefers-color-scheme:dark){
.ground{fill:#161b22}.axis{stroke:#57606a}.text{fill:#d0d7de}.caplaunch{stroke:#6cb6ff}.setpriv{stroke:#f0a35e}.gosu{stroke:#7ee787}
text.caplaunch{fill:#6cb6ff}text.setpriv{fill:#f0a35e}text.gosu{fill:#7ee787}}
</style>
`

// picture draws the panels side by side, each with its own scale.
func picture(panels []panel) string {
	const width, height, left, top, side = 300, 240, 50, 40, 20
	var s strings.Builder
	fmt.Fprintf(&s, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n<title>How the cost of a launch grows</title>\n%s", width*len(panels), height, style)
	fmt.Fprintf(&s, "<rect class=\"ground\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", width*len(panels), height)
	for n, p := range panels {
		x0, bottom := n*width+left, height-50
		highest := 0.0
		for _, line := range p.series {
			highest = max(highest, slices.Max(line.ms))
		}
		x := func(i int) int { return x0 + (width-left-side)*p.sizes[i]/p.sizes[len(p.sizes)-1] }
		y := func(ms float64) int { return bottom - int(float64(bottom-top)*ms/highest) }
		fmt.Fprintf(&s, "<text class=\"text\" x=\"%d\" y=\"20\">%s</text>\n", x0-30, p.title)
		for _, ms := range []float64{0, highest / 2, highest} {
			fmt.Fprintf(&s, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%[3]d\"/><text class=\"text\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%.2g</text>\n",
				x0, n*width+width-side, y(ms), x0-5, y(ms)+4, ms)
		}
		last := len(p.sizes) - 1
		for _, i := range []int{0, last} {
			fmt.Fprintf(&s, "<text class=\"text\" x=\"%d\" y=\"%d\" text-anchor=\"%s\">%d</text>\n", x(i), bottom+16, []string{"start", "end"}[min(i, 1)], p.sizes[i])
		}
		for k, line := range p.series {
			var points []string
			for i, ms := range line.ms {
				points = append(points, fmt.Sprintf("%d,%d", x(i), y(ms)))
			}
			fmt.Fprintf(&s, "<polyline class=\"%[1]s\" points=\"%[2]s\"/><text class=\"text %[1]s\" x=\"%[3]d\" y=\"%[4]d\">%[1]s</text>\n",
				line.name, strings.Join(points, " "), x0+80*k, height-12)
		}
		fmt.Fprintf(&s, "<text class=\"text\" x=\"%d\" y=\"%d\">ms</text>\n", n*width+8, top-6)
	}
	return s.String() + "</svg>\n"
}
