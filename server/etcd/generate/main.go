// Command generate makes the Go code of the .proto files of server/etcd, without protoc: `go -C server/etcd/generate run .`.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	_ "go.etcd.io/etcd/api/v3/etcdserverpb" // what the files import
	_ "google.golang.org/genproto/googleapis/api/annotations"
)

// sources are the files, below the folder of server/etcd.
var sources = map[string]string{"v3lock.proto": "v3lockpb", "v3election.proto": "v3electionpb"}

// plugins are tools of this module, each with its parameter.
var plugins = []struct{ name, parameter string }{
	{"protoc-gen-go", "paths=source_relative"},
	{"protoc-gen-go-grpc", "paths=source_relative"},
	{"protoc-gen-grpc-gateway", "paths=source_relative"},
}

func main() {
	for source, folder := range sources {
		if err := generate(source, filepath.Join("..", folder)); err != nil {
			fmt.Fprintln(os.Stderr, source+":", err)
			os.Exit(1)
		}
	}
}

func generate(source, folder string) error {
	compiler := protocompile.Compiler{
		Resolver: protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{folder}},
			protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
				found, err := protoregistry.GlobalFiles.FindFileByPath(path)
				return protocompile.SearchResult{Desc: found}, err
			}),
		},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), source)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{source}}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(registered(f.Imports().Get(i).FileDescriptor))
		}
		request.ProtoFile = append(request.ProtoFile, descriptor(f))
	}
	add(files[0])
	for _, p := range plugins {
		request.Parameter = proto.String(p.parameter)
		if err := run(p.name, request, folder); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// descriptor keeps the comments of a file that was compiled here.
func descriptor(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if compiled, ok := f.(linker.Result); ok {
		return compiled.FileDescriptorProto()
	}
	out := protodesc.ToFileDescriptorProto(f)
	for i := range out.Dependency {
		out.Dependency[i] = registered(f.Imports().Get(i).FileDescriptor).Path()
	}
	return out
}

// registered finds an import of etcd's files: they import each other by other paths than those that they are registered under.
func registered(f protoreflect.FileDescriptor) protoreflect.FileDescriptor {
	if !f.IsPlaceholder() {
		return f
	}
	if found, err := protoregistry.GlobalFiles.FindFileByPath(path.Base(f.Path())); err == nil {
		return found
	}
	return f
}

func run(plugin string, request *pluginpb.CodeGeneratorRequest, folder string) error {
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	command := exec.Command("go", "tool", plugin)
	command.Stdin, command.Stderr = bytes.NewReader(input), os.Stderr
	output, err := command.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", *response.Error)
	}
	for _, f := range response.File {
		if err := os.WriteFile(filepath.Join(folder, f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
