package main

import (
	"context"
	"fmt"
	"net"

	chclient "github.com/jpillora/chisel/client"
	chserver "github.com/jpillora/chisel/server"
)

func gatewayOfChisel(ctx context.Context, r role) error {
	server, err := chserver.NewServer(&chserver.Config{Reverse: true, TLS: chserver.TLSConfig{Cert: r.certificate(), Key: r.key()}})
	if err != nil {
		return fmt.Errorf("cannot make the server: %w", err)
	}
	host, port, err := net.SplitHostPort(r.Tunnel)
	if err != nil {
		return err
	}
	if err := server.StartContext(ctx, host, port); err != nil {
		return fmt.Errorf("cannot start the server: %w", err)
	}
	return server.Wait()
}

func agentOfChisel(ctx context.Context, r role) error {
	if err := await(ctx, r.Tunnel); err != nil {
		return err
	}
	client, err := chclient.NewClient(&chclient.Config{
		Server: "https://" + r.Tunnel, Remotes: []string{"R:" + r.Public + ":" + r.Backend}, TLS: chclient.TLSConfig{CA: r.certificate()},
	})
	if err != nil {
		return fmt.Errorf("cannot make the client: %w", err)
	}
	if err := client.Start(ctx); err != nil {
		return fmt.Errorf("cannot start the client: %w", err)
	}
	return client.Wait()
}
