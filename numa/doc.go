// Package numa knows which CPUs and memory nodes the machine has and puts
// threads and pages on them: it reads the topology, pins threads and maps the
// arenas that the loops' buffers live in.
//
// Everything the machine is asked for it may refuse: there may be one node,
// no reserved huge pages, a cgroup that hides CPUs, a container that forbids
// mbind. None of that is an error unless the configuration insists; what was
// really got is in the [ArenaReport] and the [Placement], for the start-up
// line and the status page.
package numa
