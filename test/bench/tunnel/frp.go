package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/fatedier/frp/client"
	v1 "github.com/fatedier/frp/pkg/config/v1"
	frplog "github.com/fatedier/frp/pkg/util/log"
	"github.com/fatedier/frp/server"
)

// frp is built with the yamux of this module. Its own is a fork of an older one, which takes the same settings.

func gatewayOfFrp(ctx context.Context, r role) error {
	frplog.InitLogger("console", "warn", 1, true)
	host, port, err := split(r.Tunnel)
	if err != nil {
		return err
	}
	config := &v1.ServerConfig{BindAddr: host, BindPort: port, Transport: v1.ServerTransportConfig{
		TLS: v1.TLSServerConfig{Force: true, TLSConfig: v1.TLSConfig{CertFile: r.certificate(), KeyFile: r.key()}},
	}}
	config.Complete()
	service, err := server.NewService(config)
	if err != nil {
		return fmt.Errorf("cannot make the server: %w", err)
	}
	service.Run(ctx)
	return errors.New("the server ended")
}

func agentOfFrp(ctx context.Context, r role) error {
	frplog.InitLogger("console", "warn", 1, true)
	if err := await(ctx, r.Tunnel); err != nil {
		return err
	}
	host, port, err := split(r.Tunnel)
	if err != nil {
		return err
	}
	_, public, err := split(r.Public)
	if err != nil {
		return err
	}
	local, backend, err := split(r.Backend)
	if err != nil {
		return err
	}
	config := &v1.ClientCommonConfig{ServerAddr: host, ServerPort: port, Transport: v1.ClientTransportConfig{
		TLS: v1.TLSClientConfig{TLSConfig: v1.TLSConfig{TrustedCaFile: r.certificate(), ServerName: host}},
	}}
	proxy := &v1.TCPProxyConfig{RemotePort: public, ProxyBaseConfig: v1.ProxyBaseConfig{
		Name: "bench", Type: "tcp", ProxyBackend: v1.ProxyBackend{LocalIP: local, LocalPort: backend},
	}}
	service, err := client.NewService(client.ServiceOptions{Common: config, ProxyCfgs: []v1.ProxyConfigurer{proxy}})
	if err != nil {
		return fmt.Errorf("cannot make the client: %w", err)
	}
	return errors.Join(errors.New("the client ended"), service.Run(ctx))
}

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	return host, port, err
}
