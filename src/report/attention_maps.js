add(main, "p", {}, "");
