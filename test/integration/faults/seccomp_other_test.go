//go:build !amd64

package faults

var moreDenials []denial
