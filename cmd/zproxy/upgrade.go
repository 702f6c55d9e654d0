package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/admin"
)

const (
	upgradeStep = 50 * time.Millisecond
	// upgradeSilence is for how long the admin address may say nothing in between: the process that
	// answers ends its answers when it has handed over.
	upgradeSilence = 10 * time.Second
)

// upgradeState is what of /status says how upgrades went.
type upgradeState struct {
	PID      int    `json:"pid"`
	Version  string `json:"version"`
	Upgrades struct {
		Done   uint64 `json:"done"`
		Failed uint64 `json:"failed"`
		Error  string `json:"error"`
	} `json:"upgrades"`
}

// cmdUpgrade has a running process hand over to a new one, and tells what became of it.
func cmdUpgrade(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("zproxy upgrade", flag.ContinueOnError)
	r := runningFlags(fs, "that of the process, which names its admin.address")
	if !r.parse(fs, args, errOut, "zproxy upgrade -c FILE, or -admin ADDRESS, or -pid FILE") {
		return 2
	}
	to, err := r.target()
	var after *upgradeState
	if err == nil {
		after, err = upgrade(to)
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	fmt.Fprintf(out, "process %d serves, version %s\n", after.PID, after.Version)
	return 0
}

// upgrade signals the process at an admin address, and waits until another one answers there, or
// the same one says that it has failed.
func upgrade(to admin.Target) (after *upgradeState, err error) {
	var before upgradeState
	if err := admin.State(to, &before); err != nil {
		return nil, err
	}
	if before.PID == 0 {
		return nil, fmt.Errorf("the process at %s does not say its number: it is too old for upgrades, restart it", to.Address)
	}
	if err := unix.Kill(before.PID, unix.SIGUSR2); err != nil {
		return nil, fmt.Errorf("process %d cannot be signalled: %w", before.PID, err)
	}
	for heard := time.Now(); time.Since(heard) < upgradeSilence; time.Sleep(upgradeStep) {
		now := new(upgradeState)
		if err = admin.State(to, now); err != nil {
			continue
		}
		heard = time.Now()
		switch {
		case now.PID != before.PID && now.Upgrades.Done > before.Upgrades.Done:
			return now, nil
		case now.PID == before.PID && now.Upgrades.Failed > before.Upgrades.Failed:
			return nil, errors.New(now.Upgrades.Error)
		}
	}
	return nil, err
}
