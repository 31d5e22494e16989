// Command measure runs commands in turn, several times, and compares their wall time, CPU time and peak memory.
//
//	measure [-runs N] [-server PID,PID...] -- COMMAND [ARGUMENT...] [-- COMMAND [ARGUMENT...]]...
//
// Taking turns lets anything that drifts (caches, other load on the machine) fall on all of them alike. Standard output
// is discarded; a command that fails ends the measurement. On a machine with other work to do, CPU time says more than
// wall time; that of the server's processes is reported, too.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sample is one run of a command.
type sample struct {
	wall, cpu, serverCPU time.Duration
	// Largest resident set, as the kernel reports it to wait4.
	peakMiB float64
}

func main() {
	runs := flag.Int("runs", 5, "how often each command runs")
	server := flag.String("server", "", "ids of the server's processes, separated by commas")
	flag.Parse()
	commands := split(flag.Args())
	if len(commands) == 0 || *runs < 1 {
		fmt.Fprintln(os.Stderr, "usage: measure [-runs N] [-server PID,PID...] -- COMMAND [ARGUMENT...] [-- COMMAND [ARGUMENT...]]...")
		os.Exit(2)
	}
	samples := make([][]sample, len(commands))
	for run := range *runs {
		for i, command := range commands {
			s, err := measure(command, *server)
			if err != nil {
				fmt.Fprintf(os.Stderr, "measure: %s: %v\n", strings.Join(command, " "), err)
				os.Exit(1)
			}
			samples[i] = append(samples[i], s)
			fmt.Fprintf(os.Stderr, "run %d of %d, command %d: %.2f s, %.0f MiB; load average %s\n",
				run+1, *runs, i+1, s.wall.Seconds(), s.peakMiB, loadAverage())
		}
	}
	for i, command := range commands {
		fmt.Printf("command %d: %s\n", i+1, strings.Join(command, " "))
	}
	fmt.Printf("\n%-9s %-24s %10s %10s %10s\n", "", "", "min", "median", "max")
	for i := range commands {
		label := fmt.Sprintf("command %d", i+1)
		row(label, "wall time (s)", samples[i], func(s sample) float64 { return s.wall.Seconds() })
		row("", "CPU time of client (s)", samples[i], func(s sample) float64 { return s.cpu.Seconds() })
		if *server != "" {
			row("", "CPU time of server (s)", samples[i], func(s sample) float64 { return s.serverCPU.Seconds() })
		}
		row("", "peak memory (MiB)", samples[i], func(s sample) float64 { return s.peakMiB })
	}
}

// split cuts the arguments at each `--`.
func split(arguments []string) [][]string {
	var commands [][]string
	for len(arguments) > 0 {
		end := slices.Index(arguments, "--")
		if end < 0 {
			end = len(arguments)
		}
		if end > 0 {
			commands = append(commands, arguments[:end])
		}
		arguments = arguments[min(end+1, len(arguments)):]
	}
	return commands
}

func measure(arguments []string, server string) (sample, error) {
	command := exec.Command(arguments[0], arguments[1:]...)
	var complaint bytes.Buffer
	command.Stderr = &complaint
	serverBefore, err := cpuTime(server)
	if err != nil {
		return sample{}, err
	}
	started := time.Now()
	if err := command.Run(); err != nil {
		// A Go program that runs out of memory prints every stack: the first lines say it.
		return sample{}, fmt.Errorf("%w\n%.2000s", err, &complaint)
	}
	wall := time.Since(started)
	serverAfter, err := cpuTime(server)
	if err != nil {
		return sample{}, err
	}
	state := command.ProcessState
	usage := state.SysUsage().(*syscall.Rusage)
	return sample{
		wall: wall, cpu: state.UserTime() + state.SystemTime(), serverCPU: serverAfter - serverBefore,
		peakMiB: float64(usage.Maxrss) / 1024,
	}, nil
}

// cpuTime is what the processes have used so far, in user and in system mode.
func cpuTime(pids string) (time.Duration, error) {
	if pids == "" {
		return 0, nil
	}
	var ticks int64
	for pid := range strings.SplitSeq(pids, ",") {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return 0, err
		}
		// The name, in parentheses, may hold spaces. Fields 14 and 15 of proc_pid_stat(5), the first after it being 3.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, field := range fields[11:13] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Go supports
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// loadAverage of the last minute: far above what the measurement itself makes, other work has slowed it.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

func row(label, what string, samples []sample, value func(sample) float64) {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	slices.Sort(values)
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	fmt.Printf("%-9s %-24s %10.2f %10.2f %10.2f\n", label, what, values[0], median, values[len(values)-1])
}
