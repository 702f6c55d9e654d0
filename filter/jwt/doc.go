// Package jwt asks for a JSON Web Token (RFC 7519) that is signed (RFC 7515) with a key it knows, as RFC 8725 has it
// done: which algorithms are accepted is configured, each key is for its own, and a token that says otherwise is
// refused. Signatures are verified beside the loops, and the verdict is kept by the token.
package jwt
