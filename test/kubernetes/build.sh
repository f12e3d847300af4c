#!/bin/sh
# Builds the programs of a Kubernetes node from modules, into the folder $1. It takes ten to twenty minutes of two
# cores the first time and seconds afterwards: Go's build cache keeps it all (4 GB).
# Each project has a go.mod of its own, so that no two have to agree on a version.
set -eu
cd "$(dirname "$0")"
bin=$1
version=$(cd kube && go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
x=k8s.io/component-base/version # without these the node says that it is v0.0.0
stamp="-X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=${minor%%.*}"
containerd=github.com/containerd/containerd/v2/cmd
kube=k8s.io/kubernetes/cmd

export GOFLAGS="-trimpath -buildvcs=false" CGO_ENABLED=0
build() { nice -n 10 go build -C "$@"; }
build ../.. -o "$bin/" ./examples/relay
build ../../packaging -o "$bin/" github.com/google/go-containerregistry/cmd/crane
build etcd -ldflags "-s -w" -o "$bin/etcd" go.etcd.io/etcd/server/v3
build containerd -ldflags "-s -w" -o "$bin/" $containerd/containerd $containerd/containerd-shim-runc-v2
CGO_ENABLED=1 build runc -tags seccomp -ldflags "-s -w" -o "$bin/" github.com/opencontainers/runc
build kube -ldflags "-s -w $stamp" -o "$bin/" $kube/kube-apiserver $kube/kubelet $kube/kubectl
