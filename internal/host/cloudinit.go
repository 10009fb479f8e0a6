package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
)

// Files in which cloud-init says how far it is. Those below /run are made anew by each boot.
const (
	cloudStatus   = "/run/cloud-init/status.json"
	cloudResult   = "/run/cloud-init/result.json"
	cloudFinished = "/var/lib/cloud/instance/boot-finished"
	cloudDisabled = "/etc/cloud/cloud-init.disabled"
)

// readCloudInit tells whether the first boot's work is over: it installs packages, and holds their locks.
func readCloudInit(s *System) string {
	result, err := s.ReadFile(cloudResult)
	if err == nil {
		if r, err := ParseCloudResult(result); err == nil {
			return r
		}
	}
	if s.has("/run/cloud-init/disabled") || s.has(cloudDisabled) {
		return "disabled"
	}
	if status, err := s.ReadFile(cloudStatus); err == nil {
		if r := ParseCloudStatus(status); r != "" {
			return r
		}
	}
	switch {
	case s.has(cloudFinished): // it is removed at the begin of each boot
		return "done"
	case errors.Is(err, fs.ErrNotExist) && s.sought("/run/cloud-init") == Is(false) && s.sought("/usr/bin/cloud-init") == Is(false):
		return "absent"
	}
	return ""
}

// ParseCloudResult reads result.json, which is written at the end: "done" or "error".
func ParseCloudResult(b []byte) (string, error) {
	var r struct {
		V1 *struct{ Errors []json.RawMessage }
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return "", err
	}
	switch {
	case r.V1 == nil:
		return "", errors.New("cannot read cloud-init's result: it has no version that we know")
	case len(r.V1.Errors) > 0:
		return "error", nil
	}
	return "done", nil
}

// ParseCloudStatus reads status.json, which is written at the begin and end of each stage: "running" while it names a
// stage or one of them has not finished; "" is unknown.
func ParseCloudStatus(b []byte) string {
	var r struct {
		V1 map[string]json.RawMessage `json:"v1"`
	}
	if err := json.Unmarshal(b, &r); err != nil || r.V1 == nil {
		return ""
	}
	if stage := bytes.TrimSpace(r.V1["stage"]); len(stage) > 0 && string(stage) != "null" {
		return "running"
	}
	ended, failed := true, false
	for _, name := range []string{"init-local", "init", "modules-config", "modules-final"} {
		var stage struct {
			Finished *float64          `json:"finished"`
			Errors   []json.RawMessage `json:"errors"`
		}
		if raw, ok := r.V1[name]; ok && json.Unmarshal(raw, &stage) != nil {
			return ""
		}
		ended = ended && stage.Finished != nil && *stage.Finished > 0
		failed = failed || len(stage.Errors) > 0
	}
	switch {
	case !ended:
		return "running"
	case failed:
		return "error"
	}
	return "done"
}

// keepCloud keeps of cloud-init's files only how far it is: errors and addresses of data sources may be secret.
func keepCloud(path string, b []byte) []byte {
	if path == cloudResult {
		switch r, err := ParseCloudResult(b); {
		case err != nil:
			return nil
		case r == "error":
			return []byte(`{"v1":{"errors":["redacted"]}}` + "\n")
		}
		return []byte(`{"v1":{"errors":[]}}` + "\n")
	}
	const ended = `{"v1":{"stage":null,"init-local":{"finished":1},"init":{"finished":1},"modules-config":{"finished":1},"modules-final":{"finished":1,"errors":[`
	switch ParseCloudStatus(b) {
	case "running":
		return []byte(`{"v1":{"stage":"redacted"}}` + "\n")
	case "done":
		return []byte(ended + "]}}}\n")
	case "error":
		return []byte(ended + "\"redacted\"]}}}\n")
	}
	return nil
}
