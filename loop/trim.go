package loop

// Trim gives memory back that a loop without traffic does not need: the blocks
// that io_uring keeps at hand, wherever in the memory they are, empty pipes, and
// then the pool's highest steps. It looks at every block; once a second is plenty.
func (l *Loop) Trim() {
	if k, ok := l.be.(interface{ trim() }); ok {
		k.trim()
	}
	l.trimPipes()
	l.pool.Trim()
}
