package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const aDay = 24 * time.Hour

func newKeygen() *cobra.Command {
	var days int
	var from string
	var development bool
	command := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key: FILE is the private half (PEM, PKCS #8), FILE.pub the public one with its time",
		Args:  cli.Arguments("FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			begin, err := moment(from)
			if err != nil {
				return err
			}
			if err := checkDays(days); err != nil {
				return err
			}
			if _, err := os.Lstat(args[0] + ".pub"); err == nil { // of a key whose private half was taken elsewhere
				return fmt.Errorf("cannot write the key: %w", &os.PathError{Op: "open", Path: args[0] + ".pub", Err: syscall.EEXIST})
			}
			public, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				return fmt.Errorf("cannot make a key: %w", err)
			}
			key := manifest.Key{Public: public, NotBefore: begin, NotAfter: begin.Add(time.Duration(days) * aDay), Development: development}
			text, err := indent(key)
			if err != nil {
				return err
			}
			if err := writePrivate(args[0], private); err != nil {
				return err
			}
			if err := atomicfile.Write(args[0]+".pub", 0o644, text); err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), key.ID())
			return nil
		},
	}
	command.Flags().IntVar(&days, "days", 730, "how long the key may sign")
	command.Flags().StringVar(&from, "from", "", "from when on, as 2026-11-26T12:00:00Z (default now)")
	command.Flags().BoolVar(&development, "development", false, "mark it as one that nobody keeps safe")
	return command
}

// checkDays bounds a time of validity: a hundred years are a mistake already, and more than 292 no longer fit a duration.
func checkDays(days int) error {
	if days < 1 || days > 36500 {
		return reason.Newf(reason.Usage, "--days %d: want 1 to 36500", days)
	}
	return nil
}

// moment reads a time; "" is now.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Now().UTC().Truncate(time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, reason.New(reason.Usage, "a time is written as 2026-11-26T12:00:00Z", err)
	}
	return at.UTC(), nil
}

// writePrivate never replaces a key: it may be the only one of its kind.
func writePrivate(path string, private ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("cannot encode the key: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the key: %w", err)
	}
	err = pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return errors.Join(err, file.Sync(), file.Close())
}

func readPrivate(path string) (ed25519.PrivateKey, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("cannot use the key %s: others may read it (mode %04o); chmod 0600", path, st.Mode().Perm())
	}
	data, err := read(path, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("cannot read the key %s: it is no private key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot read the key %s: it is none of Ed25519", path)
	}
	return private, nil
}

func readPublic(path string) (manifest.Key, error) {
	var key manifest.Key
	data, err := read(path, nil)
	if err == nil {
		err = decode(data, &key)
	}
	if err != nil {
		return key, fmt.Errorf("cannot read the public key %s: %w", path, err)
	}
	return key, nil
}

// signAll signs an envelope with each of the keys.
func signAll(e manifest.Envelope, keys []string) (manifest.Envelope, error) {
	if len(keys) == 0 {
		return e, reason.Newf(reason.Usage, "no key was given").WithFix("give one or more by --key FILE")
	}
	for _, path := range keys {
		private, err := readPrivate(path)
		if err != nil {
			return e, err
		}
		if e, err = e.Signed(private); err != nil {
			return e, err
		}
	}
	return e, nil
}
