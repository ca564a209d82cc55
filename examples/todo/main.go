// Command todo is a shared to-do list on several machines: an example of package replica.
//
//	todo serve -name a -dir /tmp/a -cluster a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003   (and b, and c)
//	todo -at 127.0.0.1:7002 add buy milk
//	todo -at 127.0.0.1:7003 show
//	todo -at 127.0.0.1:7001 done 4
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		err = run(ctx, os.Args[2:])
	} else {
		err = ask(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "todo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("serve", flag.ExitOnError)
	name, dir, cluster := f.String("name", "", "this replica's name"), f.String("dir", "", "its directory"), f.String("cluster", "", "NAME=HOST:PORT,...")
	_ = f.Parse(args) // exits
	r, err := Open(*dir, *name, *cluster)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-r.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return r.Stop(ending)
}

func ask(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("todo", flag.ExitOnError)
	at := f.String("at", "127.0.0.1:7001", "any replica")
	_ = f.Parse(args) // exits
	list, conn, err := Dial(*at)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	item := &Item{}
	switch f.Arg(0) {
	case "add":
		item, err = list.Add(ctx, &Item{Text: strings.Join(f.Args()[1:], " ")})
	case "done":
		item.ID, _ = strconv.ParseUint(f.Arg(1), 10, 64)
		item, err = list.Done(ctx, item)
	default:
		var all *List
		if all, err = list.Show(ctx, &struct{}{}); err == nil {
			for _, x := range all.Items {
				fmt.Printf("%4d [%s] %s\n", x.ID, map[bool]string{true: "x", false: " "}[x.Done], x.Text)
			}
			return nil
		}
	}
	if err == nil {
		fmt.Println(item.ID, item.Text)
	}
	return err
}
