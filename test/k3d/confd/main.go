// Command confd is a stand-in for the confd of k3d's image of the load balancer, whose module cannot be had: it understands what the
// script and the template of that image use, and nothing else.
//
//	confd -onetime -backend file -file values.yaml    writes nginx.conf
//	confd -watch -backend file -file values.yaml      writes it whenever the values change, and lets nginx read it
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"sigs.k8s.io/yaml"
)

// What nginx.toml of the image says.
const (
	source = "/etc/confd/templates/nginx.tmpl"
	target = "/etc/nginx/nginx.conf"
)

// pollEvery is how often the values are looked at.
const pollEvery = time.Second

func main() {
	once := flag.Bool("onetime", false, "write the file once")
	watch := flag.Bool("watch", false, "write it whenever the values change")
	backend := flag.String("backend", "", "where the values are: file")
	file := flag.String("file", "", "the values")
	_ = flag.String("log-level", "", "taken and not used")
	_ = flag.Bool("sync-only", false, "taken and not used")
	flag.Parse()
	if *backend != "file" || *once == *watch {
		fmt.Fprintln(os.Stderr, "confd: want -backend file and one of -onetime and -watch")
		os.Exit(2)
	}
	if *once {
		if err := write(*file); err != nil {
			fmt.Fprintln(os.Stderr, "confd:", err)
			os.Exit(1)
		}
		return
	}
	last, _ := os.ReadFile(*file)
	for range time.Tick(pollEvery) {
		now, err := os.ReadFile(*file)
		if err != nil || bytes.Equal(now, last) {
			continue
		}
		if err = write(*file); err == nil {
			err = exec.CommandContext(context.Background(), "nginx", "-s", "reload").Run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "confd:", err)
			continue
		}
		last = now
	}
}

// write makes the file of the template and the values.
func write(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return err
	}
	v := values{}
	v.flatten("/", tree)
	t, err := template.New(path.Base(source)).Funcs(template.FuncMap{
		"datetime": time.Now, "getv": v.get, "getvs": v.all, "lsdir": v.dirs, "split": strings.Split, "replace": strings.Replace,
	}).ParseFiles(source)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, nil); err != nil {
		return err
	}
	return os.WriteFile(target, out.Bytes(), 0o644)
}

// values are those of the file by their paths: "/ports/6443.tcp/0".
type values map[string]string

func (v values) flatten(at string, node any) {
	switch node := node.(type) {
	case map[string]any:
		for name, below := range node {
			v.flatten(path.Join(at, name), below)
		}
	case []any:
		for i, below := range node {
			v.flatten(path.Join(at, strconv.Itoa(i)), below)
		}
	case nil:
	default:
		v[at] = fmt.Sprint(node)
	}
}

func (v values) get(name string, or ...string) (string, error) {
	if value, ok := v[name]; ok {
		return value, nil
	}
	if len(or) > 0 {
		return or[0], nil
	}
	return "", fmt.Errorf("there is no %s", name)
}

// all returns the values whose paths match, in order.
func (v values) all(pattern string) ([]string, error) {
	var found []string
	for name, value := range v {
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, value)
		}
	}
	slices.Sort(found)
	return found, nil
}

// dirs returns the names below a path that have something below them, in order.
func (v values) dirs(at string) []string {
	var found []string
	for name := range v {
		rest, ok := strings.CutPrefix(name, at+"/")
		if dir, _, deeper := strings.Cut(rest, "/"); ok && deeper {
			found = append(found, dir)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
