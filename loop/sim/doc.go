// Package sim is a network and a clock in memory, with the backend of the loops that
// live there and the peers that these talk to. It is for tests: whatever a kernel may
// do to a loop happens here, and a run is a function of its seed.
//
//	world := sim.NewWorld(seed, sim.Faults{Late: 10})
//	l, err := loop.NewOn(loop.Config{Pool: pool}, world.Open)
package sim
