package vm

import (
	"fmt"
	"strings"
)

// jobScript returns the part of init that runs the jobs.
func jobScript(jobs []Job) []byte {
	var b strings.Builder
	for _, j := range jobs {
		dir := j.Dir
		if dir == "" {
			dir = "/"
		}
		fmt.Fprintf(&b, "job %s %s", quote(j.Name), quote(dir))
		for _, arg := range j.Args {
			b.WriteString(" " + quote(arg))
		}
		b.WriteString("\n")
	}
	return []byte(b.String())
}

// quote makes one word of a shell command of s.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
