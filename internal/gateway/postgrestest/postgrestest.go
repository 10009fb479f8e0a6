// Package postgrestest runs a PostgreSQL of a test's own, on a Unix socket in a folder of the test. Where there are no programs of
// PostgreSQL, tests that need it are skipped.
package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// Variable holds the address of a database for tests that run with PostgreSQL in place of SQLite: [Run] starts them anew with it.
const Variable = "PIPEOPS_TEST_POSTGRES"

// unprivileged is the user as whom the server runs if the test is root, which PostgreSQL refuses; Debian calls it nobody.
const unprivileged = "65534"

// Start runs a server until the test ends, and returns the address of its database.
func Start(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Skip("there is no PostgreSQL on this machine: apt-get install postgresql")
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "pg") // not t.TempDir: its name is too long for a socket, and its parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var as []string
	if os.Geteuid() == 0 {
		id, _ := strconv.Atoi(unprivileged)
		if err := os.Chown(dir, id, id); err != nil {
			t.Fatal(err)
		}
		as = []string{"setpriv", "--reuid=" + unprivileged, "--regid=" + unprivileged, "--clear-groups"}
	}
	run := func(argv ...string) {
		t.Helper()
		if _, err := command.Run(context.Background(), time.Minute, append(slices.Clone(as), argv...)...); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	run(filepath.Join(bin, "initdb"), "-D", data, "-U", "pipeops", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
	options := "-k " + dir + " -h '' -c fsync=off -c full_page_writes=off -c max_connections=400 -c shared_buffers=32MB"
	run(filepath.Join(bin, "pg_ctl"), "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", options, "start")
	t.Cleanup(func() { run(filepath.Join(bin, "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop") })
	return "postgres:///postgres?" + url.Values{"host": {dir}, "user": {"pipeops"}}.Encode()
}

// Schema makes an empty place in a database for one test, and returns its address.
func Schema(t testing.TB, address string) string {
	t.Helper()
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	name := "t" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := db.ExecContext(context.Background(), `CREATE SCHEMA `+name); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s&search_path=%s", address, name)
}

// Run runs the tests of the present test binary once more in a process of its own, with an address in [Variable]; skip, a regular
// expression, names those that are not of use there, the caller among them.
func Run(t *testing.T, skip string) {
	t.Helper()
	if os.Getenv(Variable) != "" {
		t.Skip("this is that process")
	}
	address := Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	limit := 8 * time.Minute
	argv := []string{"env", Variable + "=" + address, self, "-test.timeout=" + limit.String(), "-test.skip=" + skip}
	if testing.Short() {
		argv = append(argv, "-test.short")
	}
	if testing.Verbose() {
		argv = append(argv, "-test.v")
	}
	out, err := command.Run(t.Context(), limit, argv...)
	for line := range strings.Lines(string(out)) {
		t.Log(strings.TrimRight(line, "\n"))
	}
	if err != nil {
		t.Error(err)
	}
}
