package wire

import (
	"fmt"
	"strings"
	"testing"
)

func TestTokenRoundTrip(t *testing.T) {
	ca := []byte("a CA in DER")
	token := NewToken(ca)
	got, err := ParseToken("  " + token.Reveal() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got != token {
		t.Errorf("got %s, want %s", got.Reveal(), token.Reveal())
	}
	if !got.Pins(ca) || got.Pins([]byte("another CA")) {
		t.Error("the digest does not tell the CAs apart")
	}
}

func TestTokenHidesItsSecret(t *testing.T) {
	token := NewToken(nil)
	for _, format := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
		if s := fmt.Sprintf(format, token); strings.Contains(s, token.Secret) {
			t.Errorf("%s shows the secret", format)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	whole := NewToken([]byte("ca")).Reveal()
	f.Add(whole)
	f.Add(whole[:20])
	f.Add("pat_..")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			if err != ErrToken {
				t.Errorf("error %q may hold parts of the text", err)
			}
			return
		}
		again, err := ParseToken(token.Reveal())
		if err != nil || again != token {
			t.Errorf("%q does not survive a round trip", s)
		}
	})
}

func TestProjectValidate(t *testing.T) {
	good := Project{Name: "web", Image: "web:1", Port: 8080, Replicas: 2, Env: map[string]string{"A_B": "c"}}
	tests := []struct {
		name string
		edit func(*Project)
		want string
	}{
		{"good", func(*Project) {}, ""},
		{"no name", func(p *Project) { p.Name = "" }, "name"},
		{"capital", func(p *Project) { p.Name = "Web" }, "name"},
		{"path", func(p *Project) { p.Name = "../x" }, "name"},
		{"long", func(p *Project) { p.Name = strings.Repeat("a", 41) }, "name"},
		{"no image", func(p *Project) { p.Image = "" }, "image"},
		{"port 0", func(p *Project) { p.Port = 0 }, "port"},
		{"port high", func(p *Project) { p.Port = 65536 }, "port"},
		{"replicas", func(p *Project) { p.Replicas = 111 }, "replicas"},
		{"env", func(p *Project) { p.Env = map[string]string{"A=B": "c"} }, "env"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			tt.edit(&p)
			err := p.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
