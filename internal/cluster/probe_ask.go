package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// askTimeout is what a question to the pod gets. What the pod itself does for an answer ends after 2 s.
const askTimeout = 3 * time.Second

// answerTimeout is what the short page gets, which is a millisecond away. What is lost while kube-proxy still writes its rules is
// soon asked again.
const answerTimeout = time.Second

// answers asks for the short page.
func (p Probe) answers(ctx context.Context, ip string, port int) error {
	got, err := p.ask(ctx, answerTimeout, ip, port, "/ok", nil, maxAnswer)
	if err == nil && strings.TrimSpace(string(got)) != "ok" {
		err = fmt.Errorf("somebody else answers there: %.60q", got)
	}
	return err
}

// fromPod lets the pod do something towards an address.
func (p Probe) fromPod(ctx context.Context, pod proofPod, program, ip string, port int) error {
	got, err := p.ask(ctx, askTimeout, pod.ip, podPort, "/cgi-bin/"+program+"?"+ip+","+strconv.Itoa(port), nil, maxAnswer)
	if err != nil {
		return fmt.Errorf("the pod could not be asked: %w", err)
	}
	if answer := strings.Join(strings.Fields(string(got)), " "); answer != "ok" {
		return fmt.Errorf("%.300s", answer)
	}
	return nil
}

// ask sends a body, or nothing, and returns what comes back, at most limit bytes. An error tells how much had come.
func (p Probe) ask(ctx context.Context, timeout time.Duration, ip string, port int, path string, body []byte, limit int) ([]byte, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	target := "http://" + net.JoinHostPort(ip, strconv.Itoa(port)) + path
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	dial := p.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	// a connection of its own for each question, and no proxy: the packets are what is asked about
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		// the transport's own context outlives the question, and with it the attempt to connect
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) { return dial(ctx, network, address) },
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // nobody sends root elsewhere
	response, err := client.Do(request)
	if err != nil {
		return nil, timely(err, began, 0)
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)))
	if err != nil {
		return nil, timely(err, began, len(got))
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	return got, nil
}

// timely says in plain words that time ran out, and after how many bytes.
func timely(err error, began time.Time, came int) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no more came within %.1f s, after %d bytes", time.Since(began).Seconds(), came)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
