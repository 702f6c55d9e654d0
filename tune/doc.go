// Package tune compares the settings of the machine that matter to the proxy with what it recommends, and changes them
// reversibly.
//
// One table (table.go) has every setting with the value it should have, the reason, and where the reason comes from;
// `zproxy tune`, scripts/tune and docs/tuning.md all show that table. Reading goes through an fs.FS that holds proc and
// sys, so that tests can give it a machine of their own. Only target.go touches the operating system's files, and only
// Apply and Revert write to it.
//
// What Apply changes is in the state file before it is changed, so that Revert works after a crash as well.
package tune

//go:generate go test . -count=1 -run TestGenerated -update
