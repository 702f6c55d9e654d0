package basicauth

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/GehirnInc/crypt"
	"github.com/GehirnInc/crypt/apr1_crypt"
	"github.com/GehirnInc/crypt/sha256_crypt"
	"github.com/GehirnInc/crypt/sha512_crypt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// hash is a password's.
type hash interface {
	matches(password []byte) bool
	work() float64 // how long that takes, roughly, in ms
}

// Bounds of what verifying one password may cost.
const (
	maxBcryptCost   = 16
	maxCryptRounds  = 1_000_000
	maxArgonKiB     = 256 << 10
	maxArgonPasses  = 64
	maxArgonThreads = 16
)

var errUnknown = errors.New("expected a hash by bcrypt (htpasswd -B), argon2id, apr1, sha256-crypt, sha512-crypt, or {SHA}; passwords in clear and those of DES are refused")

// parseHash reads what stands behind a name.
func parseHash(text string) (hash, error) {
	switch {
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon(text)
	case strings.HasPrefix(text, "$argon2"):
		return nil, errors.New("expected argon2id: argon2i and argon2d are refused")
	case strings.HasPrefix(text, "$apr1$"):
		return parseCrypt(text, apr1_crypt.New(), 22)
	case strings.HasPrefix(text, "$5$"):
		return parseCrypt(text, sha256_crypt.New(), 43)
	case strings.HasPrefix(text, "$6$"):
		return parseCrypt(text, sha512_crypt.New(), 86)
	case strings.HasPrefix(text, "{SHA}"):
		sum, err := base64.StdEncoding.DecodeString(text[5:])
		if err != nil || len(sum) != sha1.Size {
			return nil, errors.New("expected {SHA} and 28 characters of base64")
		}
		return shaHash(sum), nil
	}
	return nil, errUnknown
}

type bcryptHash struct {
	text []byte
	cost int
}

func parseBcrypt(text string) (hash, error) {
	cost, err := bcrypt.Cost([]byte(text))
	switch {
	case err != nil || len(text) != 60:
		return nil, errors.New("expected a bcrypt hash of 60 characters, as htpasswd -B writes it")
	case cost > maxBcryptCost:
		return nil, fmt.Errorf("expected a bcrypt cost of at most %d: each step doubles what a request may cost", maxBcryptCost)
	}
	return &bcryptHash{[]byte(text), cost}, nil
}

func (h *bcryptHash) matches(password []byte) bool {
	return bcrypt.CompareHashAndPassword(h.text, password) == nil
}

func (h *bcryptHash) work() float64 { return 0.05 * float64(int(1)<<h.cost) }

// argonHash is "$argon2id$v=19$m=KiB,t=passes,p=threads$salt$hash" (the PHC string format).
type argonHash struct {
	kib, passes uint32
	threads     uint8
	salt, sum   []byte
}

var errArgon = errors.New("expected $argon2id$v=19$m=65536,t=3,p=4$salt$hash, salt of at least 8 and hash of at least 16 bytes, without padding")

func parseArgon(text string) (hash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, errArgon
	}
	var of [3]uint64
	settings := strings.Split(parts[3], ",")
	if len(settings) != len(of) {
		return nil, errArgon
	}
	for i, prefix := range [...]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(settings[i], prefix)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n == 0 {
			return nil, errArgon
		}
		of[i] = n
	}
	if of[0] > maxArgonKiB || of[1] > maxArgonPasses || of[2] > maxArgonThreads || of[0] < 8*of[2] {
		return nil, fmt.Errorf("expected argon2id with m of at most %d, t of at most %d and p of at most %d, and m at least 8p: a request may cost no more", maxArgonKiB, maxArgonPasses, maxArgonThreads)
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(sum) < 16 || len(sum) > 128 {
		return nil, errArgon
	}
	return &argonHash{uint32(of[0]), uint32(of[1]), uint8(of[2]), salt, sum}, nil
}

func (h *argonHash) matches(password []byte) bool {
	sum := argon2.IDKey(password, h.salt, h.passes, h.kib, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h *argonHash) work() float64 { return 0.001 * float64(h.kib) * float64(h.passes) }

// cryptHash is one of crypt(3).
type cryptHash struct {
	text   string
	by     crypt.Crypter
	rounds int
}

// parseCrypt reads "$id$salt$hash" and "$id$rounds=n$salt$hash", with so many characters of hash.
func parseCrypt(text string, by crypt.Crypter, length int) (hash, error) {
	parts := strings.Split(text, "$")
	rounds := 1000
	if parts[1] != "apr1" {
		rounds = 5000
		if digits, ok := strings.CutPrefix(parts[2], "rounds="); ok {
			n, err := strconv.Atoi(digits)
			if err != nil || n < 1000 || n > maxCryptRounds {
				return nil, fmt.Errorf("expected 1000 to %d rounds", maxCryptRounds)
			}
			rounds = n
			parts = append(parts[:2], parts[3:]...)
		}
	}
	if len(parts) != 4 || parts[2] == "" || len(parts[2]) > 16 || len(parts[3]) != length {
		return nil, fmt.Errorf("expected $%s$salt$hash with %d characters of hash", parts[1], length)
	}
	return &cryptHash{text, by, rounds}, nil
}

// matches goes by the settings in front of the hash alone: Verify of the library takes more than the salt for the
// salt where rounds stand in front of a short one.
func (h *cryptHash) matches(password []byte) bool {
	sum, err := h.by.Generate(password, []byte(h.text[:strings.LastIndexByte(h.text, '$')]))
	return err == nil && subtle.ConstantTimeCompare([]byte(sum), []byte(h.text)) == 1
}

func (h *cryptHash) work() float64 { return 0.0005 * float64(h.rounds) }

// shaHash is SHA-1 without salt, which htpasswd -s writes.
type shaHash []byte

func (h shaHash) matches(password []byte) bool {
	sum := sha1.Sum(password)
	return subtle.ConstantTimeCompare(sum[:], h) == 1
}

func (h shaHash) work() float64 { return 0 }
