// Command vex turns what govulncheck says of a binary into this release's OpenVEX document: it puts in the names that
// govulncheck cannot know, and the date of the vulnerability database in the place of the clock's.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("vex: ")
	dist := flag.String("dist", "../dist", "the folder of the release")
	db := flag.String("db", "", "the folder of the vulnerability database")
	flag.Parse()
	if err := run(*dist, *db); err != nil {
		log.Fatal(err)
	}
}

// run reads govulncheck's document from stdin.
func run(dist, db string) error {
	info, err := buildinfo.ReadFile(filepath.Join(dist, "bin/linux-amd64/caplaunch"))
	if err != nil {
		return err
	}
	index, err := os.ReadFile(filepath.Join(db, "index/db.json"))
	if err != nil {
		return err
	}
	var date struct{ Modified string }
	if err := json.Unmarshal(index, &date); err != nil {
		return err
	}
	var doc map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&doc); err != nil {
		return err
	}
	version := strings.TrimSuffix(info.Main.Version, "+dirty")
	name := "caplaunch_" + strings.TrimPrefix(version, "v") + ".openvex.json"
	doc["@id"] = fmt.Sprintf("https://%s/releases/download/%s/%s", info.Main.Path, version, name)
	doc["author"] = "caplaunch"
	doc["timestamp"] = date.Modified
	statements, _ := doc["statements"].([]any)
	for _, s := range statements {
		for _, p := range s.(map[string]any)["products"].([]any) {
			p.(map[string]any)["@id"] = "pkg:golang/" + info.Main.Path + "@" + version
		}
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dist, name), append(out, '\n'), 0o644)
}
