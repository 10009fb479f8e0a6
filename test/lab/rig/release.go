package rig

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// K3sVersion is the k3s release that the demo and the tests install.
const K3sVersion = "v1.33.2+k3s1"

// FindRelease returns a folder that is laid out as the release K3sVersion on GitHub: the one that K3S_RELEASE_DIR names,
// else one downloaded from GitHub, else one built from Go modules by test/k3s/build.sh. The last two are kept in the cache.
// It must be called in the root folder of the checkout.
func FindRelease(ctx context.Context, log func(string)) (string, error) {
	if dir := os.Getenv("K3S_RELEASE_DIR"); dir != "" {
		if err := checkRelease(dir); err != nil {
			return "", fmt.Errorf("cannot use K3S_RELEASE_DIR: %w", err)
		}
		return filepath.Abs(dir)
	}
	cache := os.Getenv("PIPEOPS_CACHE")
	if cache == "" {
		cache = "/var/cache/pipeops-agent"
	}
	dir := filepath.Join(cache, "k3s-"+K3sVersion+"-"+runtime.GOARCH)
	if checkRelease(dir) == nil {
		return dir, nil
	}
	err := downloadRelease(ctx, dir, log)
	if err == nil {
		return dir, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	log(fmt.Sprintf("the k3s release cannot be downloaded (%v): taking one that is built from Go modules, which the first time needs half an hour", err))
	cmd := exec.CommandContext(ctx, "bash", "test/k3s/build.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot build a k3s release: %w", err)
	}
	dir = strings.TrimSpace(string(out))
	return dir, checkRelease(dir)
}

// binary is the name of the k3s binary in a release.
func binary() string {
	if runtime.GOARCH == "amd64" {
		return "k3s"
	}
	return "k3s-" + runtime.GOARCH
}

func files() []string {
	return []string{"sha256sum-" + runtime.GOARCH + ".txt", binary(), "k3s-airgap-images-" + runtime.GOARCH + ".tar.zst"}
}

func checkRelease(dir string) error {
	for _, file := range files() {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}

func downloadRelease(ctx context.Context, dir string, log func(string)) error {
	base := "https://github.com/k3s-io/k3s/releases/download/" + url.PathEscape(K3sVersion) + "/"
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o755); err != nil {
		return err
	}
	names := files()
	sums := map[string]string{}
	for i, name := range names {
		if i > 0 {
			log("downloading " + name + " of k3s " + K3sVersion)
		}
		sum, err := download(ctx, base+name, filepath.Join(part, name))
		if err != nil {
			return err
		}
		if i == 0 {
			if sums, err = readSums(filepath.Join(part, name)); err != nil {
				return err
			}
		} else if sums[name] != sum {
			return fmt.Errorf("%s is not the file that was released: its SHA-256 is %s, not %q", name, sum, sums[name])
		}
	}
	// no file of the release, but only the benchmark needs it
	if _, err := download(ctx, "https://get.k3s.io", filepath.Join(part, "install.sh")); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// download returns the SHA-256 of what it wrote.
func download(ctx context.Context, from, to string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("cannot get %s: %s", from, resp.Status)
	}
	file, err := os.Create(to)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, hash), resp.Body)
	return hex.EncodeToString(hash.Sum(nil)), errors.Join(err, file.Close())
}

func readSums(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sums := map[string]string{}
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if fields := strings.Fields(scanner.Text()); len(fields) == 2 {
			sums[strings.TrimPrefix(fields[1], "*")] = fields[0]
		}
	}
	return sums, scanner.Err()
}
