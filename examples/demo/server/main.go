// Command server is an ordinary web server that wants a privileged port. It
// knows nothing of capabilities and answers with who the kernel says it is.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("server: ")
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for line := range strings.Lines(string(status)) {
			switch key, _, _ := strings.Cut(line, ":"); key {
			case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs":
				fmt.Fprint(w, line)
			}
		}
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
