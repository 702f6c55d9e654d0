// Package assert switches the expensive checks of invariants on and off.
//
// A check that costs nothing stands in the code unconditionally. One that
// would be felt per request is written `if assert.Enabled && broken {...}`:
// the constant is false in a plain build, so the compiler drops the branch,
// and true with `-tags assert`, which is how the simulator runs.
package assert
