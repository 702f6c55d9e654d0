package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/gdamore/tcell/v2"

	"zproxy/admin"
)

const topUsage = `zproxy top [-c FILE | -admin ADDRESS | -pid FILE] [-token FILE]: 1 to 5 or Tab choose a table, s sorts by the next column, r the other way round, / filters, f freezes, q quits`

// cmdTop shows a running process in a terminal.
func cmdTop(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("zproxy top", flag.ContinueOnError)
	r := runningFlags(fs, "that of the process, which names its admin.address")
	if !r.parse(fs, args, errOut, topUsage) {
		return 2
	}
	to, err := r.target()
	if err == nil {
		err = to.Call(context.Background(), "GET", "/process", nil, nil, nil) // says what is wrong before the screen is taken
	}
	var screen tcell.Screen
	if err == nil {
		if screen, err = tcell.NewScreen(); err == nil {
			err = screen.Init()
		}
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	defer screen.Fini()
	runTop(screen, to)
	return 0
}

// trouble is why there are no figures.
type trouble struct{ why string }

// runTop shows what comes until somebody quits.
func runTop(screen tcell.Screen, to admin.Target) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tell := func(what any) {
		select {
		case <-ctx.Done():
		default:
			_ = screen.PostEvent(tcell.NewEventInterrupt(what)) // one that has no room comes again in a second
		}
	}
	go func() {
		for ctx.Err() == nil {
			err := to.Watch(ctx, func(p *admin.Pulse) { tell(p) })
			tell(trouble{err.Error()})
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	m := new(topModel)
	for {
		m.draw(screen)
		switch ev := screen.PollEvent().(type) {
		case nil:
			return
		case *tcell.EventResize:
			screen.Sync()
		case *tcell.EventInterrupt:
			m.hear(ev.Data())
		case *tcell.EventKey:
			if !m.key(ev.Key(), ev.Rune()) {
				return
			}
		}
	}
}

func (m *topModel) hear(what any) {
	switch what := what.(type) {
	case *admin.Pulse:
		if m.last, m.trouble = what, what.Error; !m.frozen {
			m.shown = what
		}
	case trouble:
		m.trouble = what.why
	}
}

// key is false where somebody quits.
func (m *topModel) key(key tcell.Key, r rune) bool {
	if m.typing {
		switch {
		case key == tcell.KeyEnter:
			m.typing = false
		case key == tcell.KeyEscape:
			m.typing, m.filter = false, ""
		case (key == tcell.KeyBackspace || key == tcell.KeyBackspace2) && m.filter != "":
			runes := []rune(m.filter)
			m.filter = string(runes[:len(runes)-1])
		case key == tcell.KeyRune:
			m.filter += string(r)
		case key == tcell.KeyCtrlC:
			return false
		}
		return true
	}
	switch {
	case key == tcell.KeyCtrlC || r == 'q':
		return false
	case key == tcell.KeyTab:
		m.choose((m.view + 1) % len(topViews))
	case key == tcell.KeyEscape:
		m.filter = ""
	case key == tcell.KeyDown:
		m.from++
	case key == tcell.KeyUp:
		m.from = max(0, m.from-1)
	case r >= '1' && r < '1'+rune(len(topViews)):
		m.choose(int(r - '1'))
	case r == 's':
		m.sortBy = (m.sortBy + 1) % len(topViews[m.view].columns)
	case r == 'r':
		m.reverse = !m.reverse
	case r == '/':
		m.typing, m.filter = true, ""
	case r == 'f':
		if m.frozen = !m.frozen; !m.frozen {
			m.shown = m.last
		}
	}
	return true
}

func (m *topModel) choose(view int) {
	m.view, m.sortBy, m.reverse, m.from = view, 0, false, 0
}

// draw puts the lines on the screen.
func (m *topModel) draw(screen tcell.Screen) {
	width, height := screen.Size()
	screen.Clear()
	for y, l := range m.lines(width, height) {
		style := tcell.StyleDefault
		switch l.look {
		case lookHead:
			style = style.Reverse(true)
		case lookBad:
			style = style.Foreground(tcell.ColorRed)
		case lookDim:
			style = style.Dim(true)
		case lookBold:
			style = style.Bold(true)
		}
		x := 0
		for _, r := range l.text {
			screen.SetContent(x, y, r, nil, style)
			x++
		}
		for ; l.look == lookHead && x < width; x++ {
			screen.SetContent(x, y, ' ', nil, style)
		}
	}
	screen.Show()
}
