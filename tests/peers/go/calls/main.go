// A gRPC server and clients that use up what they have: streams that nobody reads, many streams at once, large heads.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var patience = 20 * time.Second

func main() {
	listen := flag.String("listen", "", "where the server listens")
	streams := flag.Uint("streams", 0, "how many streams the server takes at once on a connection")
	head := flag.Uint("head", 0, "how large a head the server takes")
	to := flag.String("to", "", "where the client calls")
	many := flag.Int("n", 1, "how many streams, or how many bytes of metadata")
	flag.Parse()
	var err error
	switch flag.Arg(0) {
	case "serve":
		err = serve(*listen, uint32(*streams), uint32(*head))
	case "call":
		err = call(connect(*to), 0)
	case "head":
		err = call(connect(*to), *many)
	case "unread":
		err = unread(*to, *many)
	case "hold":
		err = hold(*to, *many)
	case "watch":
		err = watch(*to, *many)
	default:
		err = fmt.Errorf("serve, call, head, unread, hold or watch?")
	}
	if err != nil {
		fmt.Println(status.Code(err), err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func serve(listen string, streams, head uint32) error {
	var options []grpc.ServerOption
	if streams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(streams))
	}
	if head > 0 {
		options = append(options, grpc.MaxHeaderListSize(head))
	}
	large := wrapperspb.String(strings.Repeat("x", 64<<10))
	flood := func(_ any, stream grpc.ServerStream) error {
		for {
			if err := stream.SendMsg(large); err != nil {
				return err
			}
		}
	}
	watch := func(_ any, stream grpc.ServerStream) error {
		if err := stream.SendMsg(wrapperspb.String("first")); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}
	echo := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		message := &wrapperspb.StringValue{}
		return message, decode(message)
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Calls",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Flood", ServerStreams: true, Handler: flood},
			{StreamName: "Watch", ServerStreams: true, Handler: watch},
		},
	}, nil)
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return server.Serve(listener)
}

func connect(to string) *grpc.ClientConn {
	connection, err := grpc.NewClient("passthrough:///"+to, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	return connection
}

// Makes one call, with so many bytes of metadata.
func call(connection *grpc.ClientConn, bytes int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if bytes > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-large", strings.Repeat("m", bytes))
	}
	answer := &wrapperspb.StringValue{}
	return connection.Invoke(ctx, "/test.Calls/Echo", wrapperspb.String("hello"), answer)
}

func open(connection *grpc.ClientConn, name string) (grpc.ClientStream, error) {
	stream, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/test.Calls/"+name)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(wrapperspb.String("go")); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// Opens streams whose messages it does not read, and calls on the same connection and on another.
func unread(to string, many int) error {
	full := connect(to)
	for range many {
		if _, err := open(full, "Flood"); err != nil {
			return err
		}
	}
	// Long enough for the windows to fill; that they may not have says nothing wrong.
	time.Sleep(time.Second)
	for _, connection := range []*grpc.ClientConn{full, connect(to)} {
		if err := call(connection, 0); err != nil {
			return err
		}
	}
	return nil
}

// Has streams open, says so, and fails when one of them ends.
func hold(to string, many int) error {
	connection := connect(to)
	ended := make(chan error, many)
	for range many {
		stream, err := open(connection, "Watch")
		if err != nil {
			return err
		}
		if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
			return err
		}
		go func() { ended <- stream.RecvMsg(&wrapperspb.StringValue{}) }()
	}
	fmt.Println("holds")
	return fmt.Errorf("the stream has ended: %w", <-ended)
}

// Has so many streams open at once, each with its first message, makes a call beside them, and gives all of them up together.
func watch(to string, many int) error {
	connection := connect(to)
	var group sync.WaitGroup
	failed := make(chan error, many)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range many {
		group.Add(1)
		go func() {
			defer group.Done()
			stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test.Calls/Watch")
			if err == nil {
				err = stream.SendMsg(wrapperspb.String("go"))
			}
			if err == nil {
				err = stream.CloseSend()
			}
			if err == nil {
				err = stream.RecvMsg(&wrapperspb.StringValue{})
			}
			if err != nil {
				failed <- err
			}
		}()
	}
	all := make(chan struct{})
	go func() { group.Wait(); close(all) }()
	select {
	case err := <-failed:
		return err
	case <-all:
	case <-time.After(3 * patience):
		return fmt.Errorf("not all streams have their first message")
	}
	if err := call(connection, 0); err != nil {
		return err
	}
	cancel()
	return call(connection, 0)
}
