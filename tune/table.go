package tune

// Where the reasons come from. Paths are those of the kernel's own documentation and source.
const (
	ipSysctl  = "kernel: networking/ip-sysctl.rst"
	netSysctl = "kernel: admin-guide/sysctl/net.rst"
	kernSys   = "kernel: admin-guide/sysctl/kernel.rst"
	scaling   = "kernel: networking/scaling.rst"
	hugetlb   = "kernel: admin-guide/mm/hugetlbpage.rst"
	transhuge = "kernel: admin-guide/mm/transhuge.rst"
)

// The groups, in the order of the output.
const (
	groupSockets = "sockets"
	groupPackets = "packets"
	groupLimits  = "limits"
	groupMemory  = "memory"
	groupNIC     = "nic"
	groupCPU     = "cpu"
)

const (
	backlogMax      = 65535    // the largest socket.backlog that a configuration may ask for
	bufferMax       = 16 << 20 // of one TCP socket, each way
	firstPort       = 16384
	lastPort        = 65535
	filesWanted     = 1 << 20
	lockedWanted    = 8 << 20
	netdevBacklog   = 10000
	budgetDefault   = 300
	budgetUsDefault = 2000
	budgetRaised    = 600
	budgetUsRaised  = 8000
)

// table is every setting there is a recommendation for: the one source of check, apply, revert and docs/tuning.md.
var table = []Rule{
	{
		Name: "net.core.somaxconn", Group: groupSockets, Wanted: "at least 65535",
		Why:    "listen(2) silently cuts a larger socket.backlog down to this",
		Source: "listen(2); " + ipSysctl,
		find:   sysctl(atLeast(backlogMax)),
	},
	{
		Name: "net.ipv4.tcp_max_syn_backlog", Group: groupSockets, Wanted: "at least 65535",
		Why:    "without SYN cookies, handshakes beyond three quarters of it are dropped, whatever the backlog is",
		Source: ipSysctl + "; net/ipv4/tcp_input.c, tcp_conn_request",
		Detail: "With SYN cookies on, a listener's own backlog limits unfinished handshakes and this value is not looked at.",
		find:   sysctl(atLeast(backlogMax)),
	},
	{
		Name: "net.ipv4.tcp_syncookies", Group: groupSockets, Wanted: "1",
		Why:    "a flood of SYNs then costs no memory; 2 would send cookies always, which loses TCP options",
		Source: ipSysctl,
		find:   sysctl(exactly("1")),
	},
	{
		Name: "net.ipv4.ip_local_port_range", Group: groupSockets, Wanted: "from 16384 or lower to 65535",
		Why:    "each connection to one origin address takes a port: 49152 instead of 28232, and those usual for listeners stay out",
		Source: ipSysctl,
		Detail: "A wider range, from 1024, would hand out ports such as 8080 to outgoing connections, and a listener that is restarted " +
			"may then find its port taken. One end should be even and one odd, and the lower end must not be below " +
			"net.ipv4.ip_unprivileged_port_start.",
		find: sysctl(portRange),
	},
	{
		Name: "net.ipv4.ip_local_reserved_ports", Group: groupSockets, Wanted: "the listeners' ports that lie in the port range",
		Why:    "else an outgoing connection may get a listener's port, and the listener cannot be opened again after a restart",
		Source: ipSysctl,
		Detail: "Known only when a configuration is given with -c.",
		find:   sysctl(reservedPorts),
	},
	{
		Name: "net.ipv4.tcp_tw_reuse", Group: groupSockets, Wanted: "1",
		Why:    "a new connection to an origin may take the port of one that ended a second ago, instead of running out of ports",
		Source: ipSysctl,
		Detail: "It concerns connections this machine opens, to origins, and goes by TCP timestamps. The default, 2, does it for loopback only. " +
			"The kernel's documentation asks to change it only on advice: where pooled connections to origins stay open, it hardly matters.",
		find: sysctl(exactly("1")),
	},
	{
		Name: "net.ipv4.tcp_timestamps", Group: groupSockets, Wanted: "1",
		Why:    "tcp_tw_reuse goes by them, and so does the estimate of the round-trip time",
		Source: ipSysctl + "; RFC 7323",
		find:   sysctl(exactly("1", "2")),
	},
	{
		Name: "net.ipv4.tcp_migrate_req", Group: groupSockets, Wanted: "1",
		Why:    "connections waiting in the queue of a listener that is closed move to another one of the port instead of being reset",
		Source: ipSysctl,
		Detail: "Every loop has a listening socket of its own on the same port; without this, what a loop or an old process has not yet " +
			"accepted when it stops is lost. All of these sockets have the same options, so the warning there about listeners with " +
			"different settings does not apply.",
		find: sysctl(exactly("1")),
	},
	{
		Name: "net.ipv4.tcp_slow_start_after_idle", Group: groupSockets, Wanted: "0",
		Why:    "kept-alive connections to clients and origins are idle between requests and should not begin anew with a small window",
		Source: ipSysctl,
		find:   sysctl(exactly("0")),
	},
	{
		Name: "net.ipv4.tcp_congestion_control", Group: groupSockets, Wanted: "cubic or bbr",
		Why:    "cubic is the standard (RFC 9438) and what connections to origins want; bbr is for clients far away, and better set per listener",
		Source: ipSysctl + "; RFC 9438",
		Detail: "`socket.congestion: bbr` in a listener's configuration sets it for that listener's connections alone. Without CAP_NET_ADMIN the " +
			"algorithm has to be in net.ipv4.tcp_allowed_congestion_control.",
		find: sysctl(exactly("cubic", "bbr")),
	},
	{
		Name: "net.ipv4.tcp_rmem", Group: groupSockets, Wanted: "maximum at least 16 MiB, the rest as it is",
		Why:    "one connection's throughput is at most window / round-trip time; only connections that need it grow to it",
		Source: ipSysctl,
		find:   sysctl(maximumAtLeast(bufferMax)),
	},
	{
		Name: "net.ipv4.tcp_wmem", Group: groupSockets, Wanted: "maximum at least 16 MiB, the rest as it is",
		Why:    "as for tcp_rmem, for what is sent",
		Source: ipSysctl,
		find:   sysctl(maximumAtLeast(bufferMax)),
	},
	{
		Name: "net.core.rmem_max", Group: groupSockets, Wanted: "at least 16 MiB",
		Why:    "a larger socket.receive_buffer in the configuration is silently cut down to this",
		Source: netSysctl + "; socket(7)",
		find:   sysctl(atLeast(bufferMax)),
	},
	{
		Name: "net.core.wmem_max", Group: groupSockets, Wanted: "at least 16 MiB",
		Why:    "a larger socket.send_buffer in the configuration is silently cut down to this",
		Source: netSysctl + "; socket(7)",
		find:   sysctl(atLeast(bufferMax)),
	},
	{
		Name: "net.ipv4.tcp_mem", Group: groupSockets, Wanted: "1/8, 3/16 and 1/4 of the memory, in pages",
		Why:    "above the middle value TCP holds all connections back; by default that is a sixteenth of the memory, and a proxy is there for sockets",
		Source: ipSysctl + "; net/ipv4/tcp.c, tcp_init_mem",
		find:   sysctl(tcpMemory),
	},

	{
		Name: "net.core.netdev_max_backlog", Group: groupPackets, Wanted: "at least 10000",
		Why:    "what RPS and loopback hand from CPU to CPU waits in this queue; when it is full, packets are dropped",
		Source: netSysctl + "; " + scaling + ", RPS flow limit",
		find:   sysctl(atLeast(netdevBacklog)),
	},
	{
		Name: "net.core.netdev_budget", Group: groupPackets, Wanted: "at least 300; 600 where rounds are cut short",
		Why:    "packets taken in one round of receiving; more only helps where /proc/net/softnet_stat counts rounds cut short (third column)",
		Source: netSysctl,
		find:   sysctl(whenSqueezed(budgetDefault, budgetRaised)),
	},
	{
		Name: "net.core.netdev_budget_usecs", Group: groupPackets, Wanted: "at least 2000; 8000 where rounds are cut short",
		Why:    "the longest such a round may take",
		Source: netSysctl,
		find:   sysctl(whenSqueezed(budgetUsDefault, budgetUsRaised)),
	},
	{
		Name: "net.core.busy_poll", Group: groupPackets, Wanted: "0",
		Why:    "every wait of every loop would burn its CPU first; where latency is worth that, it is set per socket",
		Source: netSysctl + "; kernel: networking/napi.rst",
		find:   sysctl(exactly("0")),
	},
	{
		Name: "net.core.busy_read", Group: groupPackets, Wanted: "0",
		Why:    "the same for reading, for every socket of the machine; the per-socket option is the documented way",
		Source: netSysctl,
		find:   sysctl(exactly("0")),
	},

	{
		Name: "open files (RLIMIT_NOFILE)", Group: groupLimits, Wanted: "at least 1048576",
		Why:    "a connection is a descriptor, a proxied request has two; loops stop accepting at their share of the limit",
		Source: "getrlimit(2)",
		find:   limit(limitFiles, filesWanted, "LimitNOFILE=1048576 in the unit (scripts/systemd/zproxy.service has it), or `ulimit -n`"),
	},
	{
		Name: "fs.nr_open", Group: groupLimits, Wanted: "at least 1048576",
		Why:    "no process can have a higher limit of open files than this",
		Source: "kernel: admin-guide/sysctl/fs.rst",
		find:   sysctl(atLeast(filesWanted)),
	},
	{
		Name: "fs.file-max", Group: groupLimits, Wanted: "at least 2097152",
		Why:    "open files of all processes together",
		Source: "kernel: admin-guide/sysctl/fs.rst",
		find:   sysctl(atLeast(2 * filesWanted)),
	},
	{
		Name: "fs.aio-max-nr", Group: groupLimits, Wanted: "at least 1048576",
		Why:    "of all processes together; on epoll a loop takes 256, or 4 for each CPU of the machine if that is more, to make the receives and sends of a tick in one system call",
		Source: "kernel: admin-guide/sysctl/fs.rst",
		find:   sysctl(atLeast(1 << 20)),
	},
	{
		Name: "locked memory (RLIMIT_MEMLOCK)", Group: groupLimits, Wanted: "at least 8 MiB",
		Why:    "buffers registered with io_uring count against it, and before Linux 5.12 the rings themselves",
		Source: "getrlimit(2); io_uring_mlock_size(3)",
		find:   limit(limitLocked, lockedWanted, "LimitMEMLOCK=64M in the unit (scripts/systemd/zproxy.service has it), or `ulimit -l`"),
	},
	{
		Name: "kernel.io_uring_disabled", Group: groupLimits, Wanted: "0, or 1 with zproxy's group in kernel.io_uring_group",
		Why:    "otherwise there are no rings, and the proxy falls back to epoll",
		Source: kernSys,
		find:   sysctl(ioUring),
	},

	{
		Name: "huge pages per node", Group: groupMemory, Wanted: "what the loops of the node may take (buffers.max_per_loop), at most an eighth of its memory",
		Why:    "buffers in reserved 2 MiB pages need fewer TLB entries, never fault late and cannot be swapped",
		Source: hugetlb,
		Detail: "Reserved pages are of no use to anything else. Long after the start there may be too few contiguous pages: then reserve them " +
			"on the kernel's command line, with hugepagesz=2M hugepages=N. With no pages reserved, buffers are in transparent huge pages.",
		find: hugePages,
	},
	{
		Name: "transparent_hugepage/enabled", Group: groupMemory, Wanted: "madvise",
		Why:    "buffers ask for huge pages, and only they get them; with always, memory of which little is used may take 2 MiB at a time",
		Source: transhuge,
		find:   file("sys/kernel/mm/transparent_hugepage/enabled", exactly("madvise")),
	},
	{
		Name: "transparent_hugepage/defrag", Group: groupMemory, Wanted: "defer",
		Why:    "with the default a loop that takes memory may have to wait while the kernel makes contiguous pages",
		Source: transhuge,
		Detail: "`defer` leaves that to kernel threads, and the pages are made huge later; `never` doesn't even do that.",
		find:   file("sys/kernel/mm/transparent_hugepage/defrag", exactly("defer", "never")),
	},
	{
		Name: "kernel.numa_balancing", Group: groupMemory, Wanted: "0 on machines with more than one node",
		Why:    "loops and their memory are bound to nodes already; the kernel would still unmap the Go heap to see who uses it",
		Source: kernSys + "; kernel/sched/fair.c, task_numa_work",
		find:   sysctl(numaBalancing),
	},

	{
		Name: "NIC interrupts", Group: groupNIC, Wanted: "each queue's on one of the loops' CPUs, those of the NIC's node first",
		Why:    "a connection goes to the loop of the CPU its packets arrive on, so they arrive where they are used",
		Source: scaling + "; kernel: core-api/irq/irq-affinity.rst",
		Detail: "A node without a NIC of its own takes part in the nearest ones, after their own CPUs. " +
			"Interrupts that the kernel manages itself cannot be moved; apply says which.",
		find: eachNIC(irqAffinity),
	},
	{
		Name: "irqbalance", Group: groupNIC, Wanted: "not running",
		Why:    "it moves interrupts away from where they were put",
		Source: scaling,
		find:   irqBalance,
	},
	{
		Name: "NIC receive queues (RSS)", Group: groupNIC, Wanted: "one for each CPU that serves the NIC",
		Why:    "the NIC then spreads connections over the loops without any work of the CPUs",
		Source: scaling,
		Detail: "How many a card can have is not to be read from a file, so this is advice. The card's indirection table (`ethtool -x`) is not looked at.",
		find:   eachNIC(receiveQueues),
	},
	{
		Name: "NIC receive steering (RPS)", Group: groupNIC, Wanted: "off where there are enough queues; else each queue's share of the CPUs",
		Why:    "with a queue for each CPU it only costs; with fewer queues it gives the other loops' CPUs their part",
		Source: scaling,
		find:   eachNIC(receiveSteering),
	},
	{
		Name: "NIC transmit steering (XPS)", Group: groupNIC, Wanted: "each queue for its share of the CPUs",
		Why:    "loops don't compete for a queue's lock, and are told of sent packets where they were sent",
		Source: scaling,
		find:   eachNIC(transmitSteering),
	},

	{
		Name: "CPU frequency governor", Group: groupCPU, Wanted: "performance",
		Why:    "others raise the frequency only after load was seen, and every burst begins slowly",
		Source: "kernel: admin-guide/pm/cpufreq.rst",
		find:   governors,
	},
	{
		Name: "isolated CPUs", Group: groupCPU, Wanted: "none, or exactly the loops'",
		Why:    "processes don't run on isolated CPUs unless told to: `loops: auto` leaves them out",
		Source: "kernel: admin-guide/kernel-parameters.txt, isolcpus; kernel/sched/core.c, sched_init_smp",
		Detail: "Isolation keeps everything else off the loops' CPUs and is worth it for the slowest requests. Then name the CPUs: " +
			"`loops: \"2-15\"`. Leave at least one CPU per node out for the kernel and the rest.",
		find: isolated,
	},
}
