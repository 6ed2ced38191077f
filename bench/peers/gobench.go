// gobench: Go's side of the micro table. GOMAXPROCS comes from the environment.
//
// Usage: gobench [-seconds S] [NAME...]   prints one sample of each row, or of those named
//
//	gobench -park N               starts N goroutines that park
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

func bench(name string, work func(b *testing.B)) {
	if flag.NArg() > 0 && !slices.Contains(flag.Args(), name) {
		return
	}
	r := testing.Benchmark(work)
	fmt.Printf("%-28s %10.1f ns/op\n", name, float64(r.T.Nanoseconds())/float64(r.N))
}

func yield(b *testing.B) {
	var wg sync.WaitGroup
	for g := 0; g < 2; g++ {
		wg.Add(1)
		go func() {
			for i := 0; i < b.N/2; i++ {
				runtime.Gosched()
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func spawn(b *testing.B) {
	var wg sync.WaitGroup
	for i := 0; i < b.N; i++ {
		wg.Add(1)
		go func() { wg.Done() }()
		if i%1000 == 999 {
			wg.Wait()
		}
	}
	wg.Wait()
}

func pingPong(b *testing.B) {
	there, back := make(chan int), make(chan int)
	go func() {
		for v := range there {
			back <- v
		}
		close(back)
	}()
	for i := 0; i < b.N; i++ {
		there <- i
		<-back
	}
	close(there)
}

func buffered(b *testing.B) {
	c := make(chan int, 128)
	go func() {
		for i := 0; i < b.N; i++ {
			c <- i
		}
		close(c)
	}()
	for range c {
	}
}

// Two goroutines, each selecting over two channels of which one is used.
func selectTwo(b *testing.B) {
	used, idleIn, idleOut := make(chan int), make(chan int), make(chan int)
	go func() {
		for i := 0; i < b.N; i++ {
			select {
			case used <- i:
			case idleOut <- i:
			}
		}
		close(used)
	}()
	for n := 0; n < b.N; n++ {
		select {
		case _, ok := <-used:
			if !ok {
				return
			}
		case <-idleIn:
		}
	}
}

func uncontended(b *testing.B) {
	var m sync.Mutex
	for i := 0; i < b.N; i++ {
		m.Lock()
		m.Unlock()
	}
}

func contended(b *testing.B) {
	var m sync.Mutex
	var wg sync.WaitGroup
	x := 0
	for g := 0; g < 8; g++ {
		wg.Add(1)
		go func() {
			for i := 0; i < b.N/8; i++ {
				m.Lock()
				x++
				m.Unlock()
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func sleep(b *testing.B) {
	var wg sync.WaitGroup
	for g := 0; g < 1000; g++ {
		wg.Add(1)
		go func() {
			for i := 0; i < b.N/1000; i++ {
				time.Sleep(time.Microsecond)
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func residentBytes() int {
	text, _ := os.ReadFile("/proc/self/statm")
	var size, resident int
	fmt.Sscan(string(text), &size, &resident)
	return resident * os.Getpagesize()
}

// Starts n goroutines that tell that they run, then wait on a channel for ever.
func park(n int) {
	runtime.GC()
	before := residentBytes()
	gate := make(chan bool)
	var up sync.WaitGroup
	up.Add(n)
	begin := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			up.Done()
			<-gate
		}()
	}
	up.Wait()
	each := float64(time.Since(begin).Nanoseconds()) / float64(n)
	fmt.Printf("%-28s %10.1f ns/op\n", "start and park", each)
	fmt.Printf("%-28s %10.0f B\n", "parked goroutine", float64(residentBytes()-before)/float64(n))
}

func main() {
	testing.Init()
	seconds := flag.Float64("seconds", 0.3, "how long each row runs")
	parked := flag.Int("park", 0, "only start and park this many goroutines")
	flag.Parse()
	flag.Set("test.benchtime", time.Duration(*seconds*float64(time.Second)).String())
	if *parked > 0 {
		park(*parked)
		return
	}
	bench("yield(2 goroutines)", yield)
	bench("spawn+exit", spawn)
	bench("chan pingpong (roundtrip)", pingPong)
	bench("chan buffered 128 spsc", buffered)
	bench("select 2 (pingpong)", selectTwo)
	bench("mutex uncontended", uncontended)
	bench("mutex contended 8g", contended)
	bench("timer sleep 1us x1000g", sleep)
}
