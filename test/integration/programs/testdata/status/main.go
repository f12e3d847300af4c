// Status prints its architecture, its arguments and its /proc/self/status as the probe does, on architectures that no
// C compiler is at hand for.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

func main() {
	fmt.Printf("arch=%s\n", runtime.GOARCH)
	for i, a := range os.Args {
		fmt.Printf("arg%d=%q\n", i, a)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fmt.Printf("%s=%s\n", key, strings.Join(strings.Fields(value), " "))
	}
}
