// Command service asks caplaunch, before it serves, whether it was granted more
// than it should have.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	check := exec.Command("/caplaunch", "check", "--allow="+os.Getenv("SERVICE_ALLOW"))
	check.Stderr = os.Stderr
	var exit *exec.ExitError
	switch err := check.Run(); {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
	fmt.Println("serving")
}
