package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// storeVariable holds the address of a shared store, where no file does.
	storeVariable = "PIPEOPS_GATEWAY_STORE"
	// maxStore bounds the address of a store, in bytes.
	maxStore = 4 << 10
)

// storeAddress returns the address of the store that several gateways share, "" if this one keeps its own. It may hold a password, so it
// is in a file or in the environment, and never among arguments, which every user of the machine sees.
func storeAddress(path string) (string, error) {
	if path == "" {
		return checkStore(os.Getenv(storeVariable), storeVariable)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", reason.New(reason.Usage, "--store-file", err)
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || info.Mode().Perm()&0o077 != 0 {
		return "", reason.Newf(reason.Usage, "--store-file %s: others may read it, and a password may be in it", path).WithFix("chmod 600 " + path)
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxStore))
	if err != nil {
		return "", fmt.Errorf("cannot read the address of the store: %w", err)
	}
	address := strings.TrimSpace(string(raw))
	if address == "" {
		return "", reason.Newf(reason.Usage, "--store-file %s is empty: want postgres://USER:PASSWORD@HOST/DATABASE", path)
	}
	return checkStore(address, "--store-file "+path)
}

// checkStore says what is wrong with an address without quoting it.
func checkStore(address, where string) (string, error) {
	if address == "" || strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		return address, nil
	}
	return "", reason.Newf(reason.Usage, "%s holds no address of the form postgres://USER:PASSWORD@HOST/DATABASE", where)
}
